// How models are named.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ml::daemon {

// [a-z0-9][a-z0-9._-]{0,62}: what a model or an alias may be called, and safe as a folder's name.
bool valid_name(std::string_view name);
// Throws invalid_argument that quotes it; `what` is "model" or "alias".
void check_name(std::string_view name, const char* what);

// "[owner/]name", "[owner/]name:version", "[owner/]name@alias".
struct Reference {
  std::string owner;  // empty: the caller
  std::string name;
  std::uint64_t version = 0;  // 0: none given
  std::string alias;          // empty: none given
};
// Throws invalid_argument.
Reference parse_reference(std::string_view text);

// Canonical decimal without sign and leading zeros, at least 1; 0 for anything else.
std::uint64_t parse_version(std::string_view text);

}  // namespace ml::daemon
