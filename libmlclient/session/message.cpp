#include "libmlclient/session/message.h"

#include <array>
#include <string>

namespace ml::client {

Error error_from_message(std::int32_t status, std::string_view message, char separator) {
  std::array<std::string, 3> parts;
  for (std::size_t i = 0; i < parts.size() && !message.empty(); ++i) {
    const std::size_t end = i + 1 < parts.size() ? message.find(separator) : std::string_view::npos;
    parts[i] = message.substr(0, end);
    message = end == std::string_view::npos ? std::string_view{} : message.substr(end + 1);
  }
  const bool known = status < 0 && status >= -static_cast<std::int32_t>(Code::internal);
  const Code code = known ? static_cast<Code>(-status) : Code::internal;
  if (parts[0].empty()) parts[0] = std::string("the worker answered ") + code_name(code);
  return {code, parts[0], parts[1], parts[2]};
}

}  // namespace ml::client
