#include "tests/system/support/baseline.h"

#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "tests/system/support/scratch.h"

namespace ml::test {
namespace {

std::string process_file(pid_t pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

// "7f12...-7f13... rw-s 00000000 00:01 1234 /memfd:name (deleted)"
void count_mapping(std::string_view line, Usage& usage) {
  if (line.find("/memfd:") == std::string_view::npos) return;
  std::uint64_t from = 0, to = 0;
  const auto first = std::from_chars(line.data(), line.data() + line.size(), from, 16);
  std::from_chars(first.ptr + 1, line.data() + line.size(), to, 16);
  ++usage.memfd_mappings;
  usage.memfd_mapped_bytes += to - from;
}

std::string excess(const Usage& first, const Usage& now, std::uint64_t rss_slack) {
  std::ostringstream text;
  const auto compare = [&](const char* what, std::uint64_t was, std::uint64_t is, std::uint64_t slack = 0) {
    if (is > was + slack) text << " " << what << " " << was << " -> " << is;
  };
  compare("fds", first.fds, now.fds);
  compare("memfds", first.memfds, now.memfds);
  compare("memfd mappings", first.memfd_mappings, now.memfd_mappings);
  compare("memfd mapped bytes", first.memfd_mapped_bytes, now.memfd_mapped_bytes);
  compare("resident bytes", first.rss_bytes, now.rss_bytes, rss_slack);
  return text.str();
}

}  // namespace

Usage usage_of(pid_t pid) {
  Usage usage;
  for (const auto& entry : std::filesystem::directory_iterator(process_file(pid, "fd"))) {
    std::error_code gone;  // closed meanwhile
    const std::string target = std::filesystem::read_symlink(entry.path(), gone);
    if (gone) continue;
    ++usage.fds;
    if (target.starts_with("/memfd:")) ++usage.memfds;
  }
  for (const auto& entry : std::filesystem::directory_iterator(process_file(pid, "task")))
    usage.threads += entry.is_directory() ? 1 : 0;
  std::istringstream maps(read_file(process_file(pid, "maps")));
  for (std::string line; std::getline(maps, line);) count_mapping(line, usage);

  std::istringstream statm(read_file(process_file(pid, "statm")));
  std::uint64_t size = 0, resident = 0;
  if (!(statm >> size >> resident)) throw std::runtime_error("no process " + std::to_string(pid));
  usage.rss_bytes = resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));

  // Fields 14 and 15 of stat, counted behind the bracket that ends field 2.
  const std::string stat = read_file(process_file(pid, "stat"));
  std::istringstream fields(stat.substr(stat.rfind(')') + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  std::uint64_t user = 0, system = 0;
  fields >> user >> system;
  usage.cpu_ns = (user + system) * (1'000'000'000 / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK)));
  return usage;
}

Baseline::Baseline(std::vector<pid_t> pids) : pids_(std::move(pids)) {
  for (const pid_t pid : pids_) first_.push_back(usage_of(pid));
}

testing::AssertionResult Baseline::restored(Milliseconds within, std::uint64_t rss_slack) const {
  std::string text;
  const bool settled = eventually(
      [&] {
        text.clear();
        for (std::size_t i = 0; i < pids_.size(); ++i) {
          const std::string more = excess(first_[i], usage_of(pids_[i]), rss_slack);
          if (!more.empty()) text += "\n  process " + std::to_string(pids_[i]) + ":" + more;
        }
        return text.empty();
      },
      within);
  if (settled) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "not back to the baseline after " << within.count() << " ms:" << text;
}

}  // namespace ml::test
