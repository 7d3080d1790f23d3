#include "tools/mlctl/failure.h"

#include "daemon/admin/codes.h"
#include "tools/mlctl/output/human.h"

namespace ml::ctl {

Failure failure_of(const Error& error) {
  const std::string_view code = daemon::code_of(error);
  const std::string context = error.context().empty() ? "" : " (" + error.context() + ")";
  return {exit_of(code), error.message() + context, error.hint(), std::string(code)};
}

Exit exit_of(std::string_view code) {
  const daemon::ErrorPage* const page = daemon::find_error_page(code);
  if (code == daemon::codes::kNotRunning || code == daemon::codes::kStopping) return Exit::not_running;
  if (page == nullptr) return Exit::failure;
  switch (page->outcome) {
    case daemon::Outcome::missing: return Exit::unknown_object;
    case daemon::Outcome::denied: return Exit::denied;
    case daemon::Outcome::conflict: return Exit::conflict;
    case daemon::Outcome::timed_out: return Exit::timeout;
    default: return Exit::failure;
  }
}

std::string report_of(const Failure& failure, bool colour) {
  const auto word = [&](const char* text, const char* code) {
    return colour ? std::string(code) + text + "\033[0m" : std::string(text);
  };
  // A list of mistakes has one a line; nothing else may move the cursor.
  const auto lines = [](std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      out += (at > 0 ? "\n       " : "") + printable(text.substr(at, end - at));
      at = end + 1;
    }
    return out;
  };
  std::string out = word("error:", "\033[1;31m") + ' ' + lines(failure.message);
  if (!failure.code.empty()) out += " [" + failure.code + ']';
  out += '\n';
  if (!failure.hint.empty()) out += word("hint:", "\033[1;36m") + ' ' + lines(failure.hint) + '\n';
  return out;
}

}  // namespace ml::ctl
