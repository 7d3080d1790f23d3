#include "daemon/registry/manifest.h"

#include <sys/stat.h>

#include <toml++/toml.h>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <system_error>

#include "daemon/registry/reference.h"
#include "ml/error.h"

namespace ml::daemon {

namespace {

constexpr std::int64_t kFormat = 1;
constexpr off_t kLargest = 64 << 10;

[[noreturn]] void damaged(const std::string& what, const std::string& path) { throw Error(Code::corrupt, what, path); }

template <class T>
T value(const toml::table& table, const char* key, const std::string& path) {
  const auto found = table[key].value_exact<T>();
  if (!found) damaged(std::string("the manifest's '") + key + "' is missing or of the wrong type", path);
  return *found;
}

std::uint64_t number(const toml::table& table, const char* key, std::uint64_t largest, const std::string& path) {
  const std::int64_t found = value<std::int64_t>(table, key, path);
  if (found < 0 || static_cast<std::uint64_t>(found) > largest)
    damaged(std::string("the manifest's '") + key + "' is out of range: " + std::to_string(found), path);
  return static_cast<std::uint64_t>(found);
}

bool valid_checksum(const std::string& text) {
  return text.size() == 71 && text.starts_with("sha256:") &&
         text.find_first_not_of("0123456789abcdef", 7) == std::string::npos;
}

}  // namespace

std::string to_toml(const Manifest& manifest) {
  std::ostringstream text;
  text << toml::table{{"format", kFormat},
                      {"owner", std::int64_t{manifest.owner}},
                      {"name", manifest.name},
                      {"version", static_cast<std::int64_t>(manifest.version)},
                      {"shared", manifest.shared},
                      {"bytes", static_cast<std::int64_t>(manifest.bytes)},
                      {"checksum", manifest.checksum},
                      {"registered_at", static_cast<std::int64_t>(manifest.registered_at)}}
       << '\n';
  return text.str();
}

Manifest read_manifest(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) damaged("the manifest is missing", path);
    throw Error(Code::io, "the manifest: " + std::generic_category().message(errno), path);
  }
  if (!S_ISREG(status.st_mode) || status.st_size > kLargest) damaged("the manifest is not a small file", path);
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw Error(Code::io, "the manifest can't be read", path);
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    std::ostringstream where;
    where << "the manifest is no TOML: " << error.description() << " at " << error.source().begin;
    damaged(where.str(), path);
  }
  if (const std::int64_t format = value<std::int64_t>(table, "format", path); format != kFormat)
    damaged("the manifest has format " + std::to_string(format) + ", and this mld knows 1", path);
  constexpr std::uint64_t kAny = std::numeric_limits<std::int64_t>::max();
  Manifest manifest;
  manifest.owner = static_cast<std::uint32_t>(number(table, "owner", std::numeric_limits<std::uint32_t>::max(), path));
  manifest.name = value<std::string>(table, "name", path);
  if (!valid_name(manifest.name)) damaged("the manifest's 'name' is not allowed", path);
  manifest.version = number(table, "version", kAny, path);
  manifest.shared = value<bool>(table, "shared", path);
  manifest.bytes = number(table, "bytes", kAny, path);
  manifest.checksum = value<std::string>(table, "checksum", path);
  if (!valid_checksum(manifest.checksum)) damaged("the manifest's 'checksum' is not sha256 in hexadecimal", path);
  manifest.registered_at = number(table, "registered_at", kAny, path);
  return manifest;
}

}  // namespace ml::daemon
