#include "daemon/admin/failure.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "libmlclient/transport/failure.h"

namespace ml::daemon {

namespace {

constexpr char kPart = '\x1f';
// Trailers of 8 KiB are what a gRPC client reads by default, and a byte can take three there.
constexpr std::size_t kWhat = 1200, kWhere = 500, kHint = 500;

// How many bytes the character at the start of `text` has; 0: it is none.
std::size_t character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
  const std::uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const std::uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < size; ++i)
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  if (first == 0xc2 && byte(1) < 0xa0) return 0;  // control characters of ISO 8859
  return size;
}

std::string cut(std::string_view text, std::size_t most) {
  std::string shown = presentable(text);
  if (shown.size() <= most) return shown;
  std::size_t end = most - 3;
  while (end > 0 && (static_cast<std::uint8_t>(shown[end]) & 0xc0) == 0x80) --end;  // not within a character
  return shown.substr(0, end) + "...";
}

}  // namespace

std::string presentable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = character(text);
    if (size == 0) {
      out += text[0] == '\n' || text[0] == '\t' ? ' ' : '?';
    } else {
      out += text.substr(0, size);
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out;
}

Failure failure_of(const Error& error) {
  if (const auto* named = dynamic_cast<const NamedError*>(&error)) return {named->stable_code(), error};
  return {code_of(error), error};
}

Failure caught_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return failure_of(error);
  } catch (...) {
    return failure_of(transport::failure_from(std::current_exception()));
  }
}

std::string status_message(const Failure& failure) {
  const Error& error = failure.error;
  return std::string(failure.code) + kPart + cut(error.message(), kWhat) + kPart + cut(error.context(), kWhere) +
         kPart + cut(error.hint(), kHint);
}

}  // namespace ml::daemon
