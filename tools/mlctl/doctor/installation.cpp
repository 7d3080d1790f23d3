#include <dlfcn.h>
#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "ml/session.h"
#include "mlclient.h"
#include "tools/mlctl/doctor/doctor.h"
#include "tools/mlctl/programs.h"

namespace ml::ctl {
namespace {

std::string library_path() {
  Dl_info info{};
  const bool found = dladdr(reinterpret_cast<const void*>(&ml_version), &info) != 0 && info.dli_fname != nullptr;
  return found ? info.dli_fname : "an unknown place";
}

Check diagnose_group(const char* name, const std::string& allows) {
  const std::string check = std::string("group ") + name;
  const group* const entry = getgrnam(name);  // NOLINT(concurrency-mt-unsafe): one thread
  if (entry == nullptr) {
    return uneasy(check, "does not exist: the service is not installed",
                  "`make install` and `systemd-sysusers` make it; `mld --user` does without");
  }
  if (geteuid() == 0) return good(check, "not needed by root");
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(0, getgroups(0, nullptr))));
  groups.resize(static_cast<std::size_t>(std::max(0, getgroups(static_cast<int>(groups.size()), groups.data()))));
  groups.push_back(getegid());
  if (std::find(groups.begin(), groups.end(), entry->gr_gid) != groups.end())
    return good(check, "you are in it: " + allows);
  return good(check, "you are not in it, which is needed to " + allows);
}

}  // namespace

std::vector<Check> diagnose_libraries(const Patient&) {
  const std::string version = ml_version();
  if (version != ML_VERSION) {
    return {uneasy("libmlclient", "version " + version + " (" + library_path() + "), mlctl is " ML_VERSION,
                   "install both from one build; one minor version apart works")};
  }
  return {good("libmlclient", "version " + version + " (" + library_path() + ")")};
}

std::vector<Check> diagnose_engine(const Patient&) {
  try {
    const Session session = connect({.transport = "embedded", .device = "cpu", .threads = 1});
    return {good("engine", session.fingerprint())};
  } catch (const Error& error) {
    return {bad("engine", error.what(), error.hint())};
  }
}

std::vector<Check> diagnose_programs(const Patient&) {
  std::vector<Check> checks;
  for (const char* const name : {"mld", "mld-worker", "mld-job"}) {
    const std::string path = find_program(name);
    checks.push_back(path.empty() ? bad(name, "is not beside mlctl, nor where it is installed, nor in PATH",
                                        "run `make install`, or set PATH to where it was built")
                                  : good(name, path));
  }
  const std::string bench = find_program("mlbench");
  checks.push_back(bench.empty() ? uneasy("mlbench", "not found", "only `mlctl bench` needs it")
                                 : good("mlbench", bench));
  return checks;
}

std::vector<Check> diagnose_groups(const Patient&) {
  return {diagnose_group("mlaccel-admin", "manage what is others'")};
}

}  // namespace ml::ctl
