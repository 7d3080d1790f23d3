#include "tools/mlctl/commands/each.h"

#include <optional>

#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/printer.h"

namespace ml::ctl {

Exit for_each_name(std::span<const std::string> names, const std::function<void(const std::string&)>& act) {
  if (names.size() == 1) {
    act(names.front());
    return Exit::ok;
  }
  std::optional<Exit> first;
  std::size_t failed = 0;
  for (const std::string& name : names) {
    try {
      act(name);
    } catch (const Failure& failure) {
      if (failure.exit == Exit::not_running) throw;
      Failure named = failure;
      named.message = name + ": " + failure.message;
      write_error(report_of(named, false));
      if (!first) first = failure.exit;
      ++failed;
    }
  }
  return failed == 0 ? Exit::ok : failed < names.size() ? Exit::partial : *first;
}

}  // namespace ml::ctl
