// JSON schemas (draft 2020-12) of the kinds, from their columns.
#include "tools/mlctl/generate/generate.h"
#include "tools/mlctl/output/kind.h"

namespace ml::ctl {
namespace {

Object of_type(const char* type) { return {{"type", type}}; }

Object unit_schema(Unit unit) {
  const auto natural = [] { return Object{{"type", "integer"}, {"minimum", 0}}; };
  const auto list_of_type = [](Object items) { return Object{{"type", "array"}, {"items", std::move(items)}}; };
  switch (unit) {
    case Unit::text: return of_type("string");
    case Unit::flag: return of_type("boolean");
    case Unit::count:
    case Unit::bytes:
    case Unit::duration:
    case Unit::time: return natural();
    case Unit::integer: return of_type("integer");
    case Unit::number: return of_type("number");
    case Unit::fraction: return {{"type", "number"}, {"minimum", 0}};
    case Unit::words: return list_of_type(of_type("string"));
    case Unit::counts: return list_of_type(natural());
    case Unit::numbers: return list_of_type({{"type", List{"number", "null"}}});
  }
  return {};
}

Object column_schema(const Column& column) {
  Object schema = unit_schema(column.unit);
  if (column.optional) schema.front().second = List{std::get<std::string>(schema.front().second.held), "null"};
  Object described{{"description", column.help}};
  for (auto& member : schema) described.push_back(std::move(member));
  return described;
}

std::string schema_of(const Kind& kind) {
  Object properties;
  List required;
  for (const Column& column : kind.columns) {
    if (column.shown == Shown::people) continue;
    properties.emplace_back(column.key, column_schema(column));
    required.emplace_back(column.key);
  }
  const std::string name(kind.name), reference = "#/$defs/" + name;
  const Object one{{"description", kind.help},
                   {"type", "object"},
                   {"properties", std::move(properties)},
                   {"required", std::move(required)}};
  const Value list = Object{{"type", "array"}, {"items", Object{{"$ref", reference}}}};
  return to_json(Object{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                        {"title", "mlctl: " + name},
                        {"description", "What mlctl prints with -o json: one " + name + ", or an array of them."},
                        {"anyOf", List{Object{{"$ref", reference}}, list}},
                        {"$defs", Object{{name, one}}}});
}

}  // namespace

Generated schemas() {
  Generated files;
  for (const Kind* kind : kinds()) files.emplace_back(std::string(kind->name) + ".json", schema_of(*kind));
  return files;
}

}  // namespace ml::ctl
