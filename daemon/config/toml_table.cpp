#include "daemon/config/toml_table.h"

#include <algorithm>
#include <numeric>

#include "daemon/config/units.h"

namespace ml::daemon {
namespace {

// Letters to insert, remove or replace.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

std::string quoted(const std::string& text) { return '"' + text + '"'; }

}  // namespace

std::string_view nearest(std::string_view wrong, const std::vector<std::string>& names) {
  std::string_view best;
  std::size_t best_distance = 1 + std::max<std::size_t>(1, wrong.size() / 3);
  for (const std::string& name : names) {
    const std::size_t here = distance(wrong, name);
    if (here >= best_distance) continue;
    best = name;
    best_distance = here;
  }
  return best;
}

std::string Mistakes::text() const {
  std::vector<Mistake> sorted = found_;
  std::ranges::stable_sort(sorted, {}, &Mistake::line);
  std::string all;
  for (const Mistake& mistake : sorted) {
    if (!all.empty()) all += '\n';
    all += (file_.empty() ? "line " : file_ + ":") + std::to_string(mistake.line) + ": " + mistake.text;
  }
  return all;
}

void TomlTable::mistake(std::string_view key, const toml::node& at, const std::string& what) {
  mistakes_.add(at, prefix_ + std::string(key) + ": " + what);
}

const toml::node* TomlTable::node(std::string_view key) {
  known_.emplace_back(key);
  return table_.get(key);
}

const std::string* TomlTable::string_of(std::string_view key, const toml::node*& at, const char* expected) {
  at = node(key);
  if (at == nullptr) return nullptr;
  if (const auto* const text = at->as_string()) return &text->get();
  mistake(key, *at, std::string("expected ") + expected);
  return nullptr;
}

void TomlTable::text(std::string_view key, std::string& out) {
  const toml::node* at;
  const std::string* const value = string_of(key, at, "a text in quotes");
  if (value == nullptr) return;
  if (value->empty() || value->find('\0') != std::string::npos) return mistake(key, *at, "expected a text");
  out = *value;
}

void TomlTable::choice(std::string_view key, std::string& out, std::initializer_list<std::string_view> of) {
  std::string expected;
  for (const std::string_view one : of) expected += (expected.empty() ? "\"" : ", \"") + std::string(one) + '"';
  if (of.size() > 1) expected = "one of " + expected;
  const toml::node* at;
  const std::string* const value = string_of(key, at, expected.c_str());
  if (value == nullptr) return;
  if (std::ranges::find(of, *value) != of.end()) {
    out = *value;
    return;
  }
  mistake(key, *at, quoted(*value) + " is not valid; expected " + expected);
}

void TomlTable::path(std::string_view key, std::string& out, std::size_t max_bytes) {
  const toml::node* at;
  const std::string* const value = string_of(key, at, "an absolute path in quotes");
  if (value == nullptr) return;
  if (!value->starts_with('/') || value->find('\0') != std::string::npos)
    return mistake(key, *at, quoted(*value) + " is not absolute; expected a path that begins with /");
  if (value->size() > max_bytes)
    return mistake(
        key, *at,
        "the path has " + std::to_string(value->size()) + " bytes; expected at most " + std::to_string(max_bytes));
  out = *value;
}

void TomlTable::count(std::string_view key, std::uint64_t& out, std::uint64_t at_least, bool may_be_unlimited) {
  const toml::node* const at = node(key);
  if (at == nullptr) return;
  const std::string expected = "expected a whole number of at least " + std::to_string(at_least) +
                               (may_be_unlimited ? ", or \"unlimited\"" : "");
  if (const auto* const number = at->as_integer()) {
    if (number->get() < 0 || static_cast<std::uint64_t>(number->get()) < at_least)
      return mistake(key, *at, std::to_string(number->get()) + " is too small; " + expected);
    out = static_cast<std::uint64_t>(number->get());
    return;
  }
  if (const auto* const text = at->as_string(); text != nullptr && may_be_unlimited && text->get() == "unlimited") {
    out = kUnlimited;
    return;
  }
  mistake(key, *at, expected);
}

void TomlTable::milliseconds(std::string_view key, std::uint64_t& out) {
  constexpr const char* kExpected = "a duration such as \"500ms\", \"30s\", \"5min\" or \"2h\"";
  const toml::node* at;
  const std::string* const value = string_of(key, at, kExpected);
  if (value == nullptr) return;
  if (const auto parsed = parse_duration(*value))
    out = *parsed;
  else
    mistake(key, *at, quoted(*value) + " is not valid; expected " + kExpected);
}

void TomlTable::bytes(std::string_view key, std::uint64_t& out, bool may_be_unlimited,
                      const std::function<std::uint64_t()>& whole) {
  const toml::node* const at = node(key);
  if (at == nullptr) return;
  const std::string expected = std::string("expected a size such as \"512MiB\" or \"8GiB\"") +
                               (whole ? ", a share such as \"50%\"" : "") +
                               (may_be_unlimited ? ", or \"unlimited\"" : "");
  if (const auto* const number = at->as_integer(); number != nullptr && number->get() >= 0) {
    out = static_cast<std::uint64_t>(number->get());
    return;
  }
  const auto* const text = at->as_string();
  if (text == nullptr) return mistake(key, *at, expected);
  if (may_be_unlimited && text->get() == "unlimited") {
    out = kUnlimited;
  } else if (const auto size = parse_bytes(text->get())) {
    out = *size;
  } else if (const auto percent = parse_percent(text->get()); percent && whole) {
    out = static_cast<std::uint64_t>(static_cast<double>(whole()) / 100 * *percent);
  } else {
    mistake(key, *at, quoted(text->get()) + " is not valid; " + expected);
  }
}

void TomlTable::cpus(std::string_view key, std::vector<int>& out, const std::vector<int>& allowed) {
  constexpr const char* kExpected = "CPU numbers such as \"0-3,8\", or \"all\"";
  const toml::node* at;
  const std::string* const value = string_of(key, at, kExpected);
  if (value == nullptr) return;
  if (*value == "all") {
    out.clear();
    return;
  }
  const auto parsed = parse_cpus(*value);
  if (!parsed) return mistake(key, *at, quoted(*value) + " is not valid; expected " + kExpected);
  std::vector<int> missing;
  std::ranges::set_difference(*parsed, allowed, std::back_inserter(missing));
  if (!missing.empty())
    return mistake(key, *at, "mld can't use " + format_cpus(missing) + "; expected some of " + format_cpus(allowed));
  out = *parsed;
}

void TomlTable::finish() {
  for (const auto& [key, value] : table_) {
    const std::string name(key.str());
    if (std::ranges::find(known_, name) != known_.end()) continue;
    const std::string_view meant = nearest(name, known_);
    std::string all;
    for (const std::string& known : known_) all += (all.empty() ? "" : ", ") + known;
    mistakes_.add(key.source().begin.line,
                  prefix_ + name + ": there is no such key; " +
                      (meant.empty() ? "expected one of " + all : "did you mean " + std::string(meant) + "?"));
  }
}

}  // namespace ml::daemon
