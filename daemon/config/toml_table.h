// Reads the keys of a TOML table one by one and collects every mistake with its line, so that one look at the message
// is enough to repair the file.
#pragma once

#include <toml++/toml.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace ml::daemon {

class Mistakes {
 public:
  // `file` is what stands before the number of each line.
  explicit Mistakes(std::string file = {}) : file_(std::move(file)) {}
  void add(const toml::node& at, const std::string& text) { add(at.source().begin.line, text); }
  void add(std::uint32_t line, const std::string& text) { found_.push_back({line, text}); }
  bool empty() const { return found_.empty(); }
  // In the order of the file, one a line: "mld.toml:3: ...", or "line 3: ..." without a file.
  std::string text() const;
  std::size_t count() const { return found_.size(); }

 private:
  struct Mistake {
    std::uint32_t line;
    std::string text;
  };
  std::string file_;
  std::vector<Mistake> found_;
};

class TomlTable {
 public:
  // `prefix` is what stands before a key in messages: "", "limits.".
  TomlTable(const toml::table& table, std::string prefix, Mistakes& mistakes)
      : table_(table), prefix_(std::move(prefix)), mistakes_(mistakes) {}

  // Each leaves `out` as it is when the key is missing or wrong.
  void text(std::string_view key, std::string& out);
  void choice(std::string_view key, std::string& out, std::initializer_list<std::string_view> of);
  void path(std::string_view key, std::string& out, std::size_t max_bytes = 4095);
  void count(std::string_view key, std::uint64_t& out, std::uint64_t at_least, bool may_be_unlimited);
  void milliseconds(std::string_view key, std::uint64_t& out);
  // A size, "unlimited" where that is allowed, or a percentage of `whole`, which is asked for only then.
  void bytes(std::string_view key, std::uint64_t& out, bool may_be_unlimited,
             const std::function<std::uint64_t()>& whole);
  void cpus(std::string_view key, std::vector<int>& out, const std::vector<int>& allowed);
  // The key's node, which then counts as known.
  const toml::node* node(std::string_view key);
  // Reports every key that nobody asked for.
  void finish();
  void mistake(std::string_view key, const toml::node& at, const std::string& what);

 private:
  const std::string* string_of(std::string_view key, const toml::node*& at, const char* expected);

  const toml::table& table_;
  std::string prefix_;
  Mistakes& mistakes_;
  std::vector<std::string> known_;
};

// The name nearest to `wrong`, if it can be a slip.
std::string_view nearest(std::string_view wrong, const std::vector<std::string>& names);

}  // namespace ml::daemon
