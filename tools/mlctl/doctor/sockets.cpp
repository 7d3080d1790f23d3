#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/admin/admin_socket.h"
#include "tools/mlctl/doctor/doctor.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/human.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

constexpr std::chrono::seconds kPatience(2);

// What connecting to a socket that is there says.
Check diagnose_refusal(const std::string& name, const std::string& path, int error) {
  const std::string what = path + ": " + std::strerror(error);  // NOLINT(concurrency-mt-unsafe): one thread
  switch (error) {
    case ECONNREFUSED:
      return uneasy(name, path + " is stale: nobody listens there any more",
                    "mld removes it when it starts; `mld --user` or `systemctl start mld`");
    case EACCES:
    case EPERM: return bad(name, what, "it is of another user's mld; the machine's is open to all of its users");
    case EAGAIN: return bad(name, path + ": mld takes no connections", "look at its log: `journalctl -u mld`");
    default: return bad(name, what, "remove what is there, and start mld again");
  }
}

Check diagnose_session_socket(const std::string& path) {
  const Connected connected = connect_to(path, kPatience, SOCK_SEQPACKET);
  if (connected.error == 0) return good("session socket", path + " answers");
  if (connected.error == ENOENT)
    return bad("session socket", path + " is not there, though mld runs", "start mld again; look at its log");
  return diagnose_refusal("session socket", path, connected.error);
}

void ask_mld(const std::string& path, std::vector<Check>& checks) {
  try {
    AdminClient client(path, kPatience);
    const admin::StatusReply status = client.status();
    const std::string since = human_duration(realtime_ns() - std::min(realtime_ns(), status.started_at_ns()));
    checks.push_back(good("mld", "version " + printable(status.version()) + ", pid " + std::to_string(status.pid()) +
                                     ", up " + since + ", " + std::to_string(status.devices()) + " devices, " +
                                     printable(status.event_loop())));
    if (status.version() != ML_VERSION) {
      checks.push_back(uneasy("versions", "mld is " + printable(status.version()) + ", mlctl is " ML_VERSION,
                              "start mld again after an update; one minor version apart works"));
    }
    for (const std::string& problem : status.problems())
      checks.push_back(uneasy("mld", printable(problem), "see `mlctl status` and mld's log"));
    const admin::ListDevicesReply devices = client.devices();
    for (const admin::Device& device : devices.devices()) {
      if (device.state() == "failed")
        checks.push_back(bad("device " + printable(device.name()), "failed: " + printable(device.last_death()),
                             "look at mld's log; a restart of mld tries again"));
    }
    checks.push_back(diagnose_session_socket(status.socket()));
  } catch (const Failure& failure) {
    checks.push_back(bad("mld", failure.message, failure.hint));
  }
}

}  // namespace

std::vector<Check> diagnose_sockets(const Patient& patient) {
  std::vector<Check> checks;
  bool answered = false;
  std::string looked_at;
  for (const std::string& path : admin_sockets(patient.named_socket)) {
    looked_at += (looked_at.empty() ? "" : ", ") + path;
    struct stat found {};
    if (stat(path.c_str(), &found) != 0) {
      if (errno != ENOENT) checks.push_back(diagnose_refusal("admin socket", path, errno));
      continue;
    }
    if (!S_ISSOCK(found.st_mode)) {
      checks.push_back(bad("admin socket", path + " is no socket", "remove it, and start mld again"));
      continue;
    }
    const Connected connected = connect_to(path, kPatience);
    if (connected.error != 0) {
      checks.push_back(diagnose_refusal("admin socket", path, connected.error));
      continue;
    }
    checks.push_back(good("admin socket", path + " answers" + (answered ? " (not used: the first one is)" : "")));
    if (!answered) ask_mld(path, checks);
    answered = true;
  }
  if (!answered)
    checks.push_back(uneasy("mld", "is not running (looked at " + looked_at + ")",
                            "start your own with `mld --user`, or the machine's with `systemctl start mld`"));
  return checks;
}

}  // namespace ml::ctl
