// Values that job files have and mld.toml has not.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/config/toml_table.h"

namespace ml::job {

inline constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

// Each leaves `out` as it is when the key is missing or wrong; a missing one that is `required` is a mistake too.
enum class Need { optional, required };

// A table of a job file, for the functions below.
struct JobTable {
  JobTable(const toml::table& at, std::string before, daemon::Mistakes& found)
      : node(at), prefix(std::move(before)), mistakes(found), keys(at, prefix, found) {}

  void integer(std::string_view key, std::int64_t& out, std::int64_t least, std::int64_t most, Need need);
  // From `least` to `most`; `open`: `most` itself is not allowed.
  void number(std::string_view key, double& out, double least, double most, bool open, Need need);
  void flag(std::string_view key, bool& out);
  void text(std::string_view key, std::string& out, Need need);
  void choice(std::string_view key, std::string& out, std::initializer_list<std::string_view> of, Need need);
  void integers(std::string_view key, std::vector<std::int64_t>& out, std::int64_t least, Need need);
  // Two file names.
  void two_files(std::string_view key, std::vector<std::string>& out, Need need);
  bool has(std::string_view key) const { return node.contains(key); }
  // Reports `key` if it is there, saying why it should not be. It has to be read all the same.
  void refuse(std::string_view key, const std::string& why);

  const toml::table& node;
  std::string prefix;
  daemon::Mistakes& mistakes;
  daemon::TomlTable keys;

 private:
  const toml::node* find(std::string_view key, Need need, const std::string& expected);
};

}  // namespace ml::job
