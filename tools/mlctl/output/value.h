// What a cell of the output holds: as much of JSON as rows need.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ml::ctl {

struct Value;
using List = std::vector<Value>;
using Object = std::vector<std::pair<std::string, Value>>;  // in the order in which it is printed

struct Value {
  std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, List, Object> held = nullptr;

  Value() = default;
  Value(std::nullptr_t) {}
  Value(bool value) : held(value) {}
  Value(std::signed_integral auto value) : held(static_cast<std::int64_t>(value)) {}
  Value(std::unsigned_integral auto value) requires(!std::same_as<decltype(value), bool>)
      : held(static_cast<std::uint64_t>(value)) {}
  Value(double value) : held(value) {}
  Value(std::string value) : held(std::move(value)) {}
  Value(std::string_view value) : held(std::string(value)) {}
  Value(const char* value) : held(std::string(value)) {}
  Value(List value) : held(std::move(value)) {}
  Value(Object value) : held(std::move(value)) {}

  template <class T>
  const T* as() const {
    return std::get_if<T>(&held);
  }
  bool is_null() const { return as<std::nullptr_t>() != nullptr; }
  // Of a number of any kind; 0 for everything else.
  double number() const;
};

// A list of what a repeated field holds.
template <class Range>
Value list_of(const Range& range) {
  List list;
  for (const auto& element : range) list.emplace_back(element);
  return list;
}

bool is_utf8(std::string_view text);
// A string literal of JSON, which is one of YAML as well. Bytes that are no UTF-8 become U+FFFD.
std::string quoted(std::string_view text);
// Numbers that JSON has no word for (infinity, NaN) are null. `indent` < 0: on one line.
std::string to_json(const Value& value, int indent = 0);
// Block style; strings are quoted wherever they could be read as something else.
std::string to_yaml(const Value& value);

}  // namespace ml::ctl
