// Kinds of things that mlctl shows. One table of columns per kind makes the table, the wide table, JSON, YAML, names
// and the JSON schema.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/mlctl/output/value.h"

namespace ml::ctl {

// What a column's values mean: decides how they look in a table. JSON has them raw.
enum class Unit {
  text,
  flag,      // true or false
  count,     // an integer, not negative
  integer,   // a signed one
  number,    // a real one
  fraction,  // 0 to 1; in tables a percentage
  bytes,
  duration,  // ns
  time,      // ns since 1970; in tables how long ago
  words,     // a list of texts
  counts,    // a list of integers
  numbers,   // a list of real ones
};

// Where a column is shown. JSON and YAML have all but those for people.
enum class Shown {
  table,
  wide,     // -o wide
  details,  // `show` only
  data,     // JSON and YAML only
  people,   // tables only: says what others say, with units
};

struct Column {
  std::string_view key;    // in JSON
  std::string_view title;  // in tables
  Unit unit;
  std::string_view help;  // one sentence: the schema's description
  Value (*get)(const void* thing);
  Shown shown = Shown::table;
  bool optional = false;  // may be null, in tables "-"
};

struct Kind {
  std::string_view name;    // of one, and of its schema: "device"
  std::string_view plural;  // "devices"
  std::string_view help;
  std::span<const Column> columns;
  std::string_view key;  // the column that -o name prints
};

// All of them; each has a schema in docs/schemas.
std::span<const Kind* const> kinds();

extern const Kind kStatusKind, kDeviceKind, kUtilisationKind, kModelKind, kJobKind, kWhyKind, kClientKind, kLimitKind,
    kCheckKind, kCodeKind, kFigureKind, kTensorKind, kPredictionKind;

// One cell per column.
using Row = std::vector<Value>;

template <class Thing>
Row row_of(const Kind& kind, const Thing& thing) {
  Row row;
  row.reserve(kind.columns.size());
  for (const Column& column : kind.columns) row.push_back(column.get(&thing));
  return row;
}

template <class Range>
std::vector<Row> rows_of(const Kind& kind, const Range& things) {
  std::vector<Row> rows;
  for (const auto& thing : things) rows.push_back(row_of(kind, thing));
  return rows;
}

// A getter of a member or of a member function without arguments: of<&admin::Device::name>.
template <class Member>
struct MemberOf;
template <class Class, class Result>
struct MemberOf<Result (Class::*)() const> {
  using Thing = Class;
};
template <class Class, class Result>
struct MemberOf<Result(Class::*)> {
  using Thing = Class;
};
template <auto member>
Value of(const void* thing) {
  const auto& typed = *static_cast<const typename MemberOf<decltype(member)>::Thing*>(thing);
  if constexpr (std::is_member_object_pointer_v<decltype(member)>)
    return Value(typed.*member);
  else
    return Value((typed.*member)());
}
// The same, null when it is 0 or empty.
template <auto member>
Value unless_zero(const void* thing) {
  Value value = of<member>(thing);
  const auto* text = value.as<std::string>();
  return text != nullptr ? (text->empty() ? Value() : value) : value.number() == 0 ? Value() : value;
}

}  // namespace ml::ctl
