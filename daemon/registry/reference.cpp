#include "daemon/registry/reference.h"

#include <algorithm>
#include <charconv>

#include "ml/error.h"

namespace ml::daemon {

namespace {

constexpr std::size_t kLongestName = 63;
constexpr std::size_t kLongestOwner = 64;

bool letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// Fit to be repeated in a message: short, and no byte that a terminal obeys.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, 80)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out + (text.size() > 80 ? "...'" : "'");
}

[[noreturn]] void refuse(std::string_view text, const char* why) {
  throw Error(Code::invalid_argument, "the model reference " + quoted(text) + " " + why, {},
              "write NAME, NAME:VERSION or NAME@ALIAS, with OWNER/ before it for another user's");
}

}  // namespace

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() > kLongestName || !letter_or_digit(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return letter_or_digit(c) || c == '.' || c == '_' || c == '-'; });
}

void check_name(std::string_view name, const char* what) {
  if (valid_name(name)) return;
  throw Error(Code::invalid_argument, std::string("the ") + what + " name " + quoted(name) + " is not allowed", {},
              "begin with a-z or 0-9 and go on with those, '.', '_' and '-', at most 63 in all");
}

std::uint64_t parse_version(std::string_view text) {
  std::uint64_t version = 0;
  if (text.empty() || text[0] == '0') return 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  return error == std::errc() && end == text.data() + text.size() ? version : 0;
}

Reference parse_reference(std::string_view text) {
  Reference reference;
  std::string_view rest = text;
  if (const std::size_t slash = rest.find('/'); slash != rest.npos) {
    if (slash == 0 || slash > kLongestOwner) refuse(text, "has no proper owner before '/'");
    reference.owner = rest.substr(0, slash);
    rest.remove_prefix(slash + 1);
  }
  if (const std::size_t mark = rest.find_first_of(":@"); mark != rest.npos) {
    const std::string_view selector = rest.substr(mark + 1);
    if (rest[mark] == ':') {
      reference.version = parse_version(selector);
      if (reference.version == 0) refuse(text, "has no version number behind ':'");
    } else {
      if (!valid_name(selector)) refuse(text, "has no proper alias behind '@'");
      reference.alias = selector;
    }
    rest = rest.substr(0, mark);
  }
  if (!valid_name(rest)) refuse(text, "has no proper name");
  reference.name = rest;
  return reference;
}

}  // namespace ml::daemon
