// As much JSON as the headers of our files need: one value, read from text that may come from anywhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ml::files {

struct Json;
struct JsonMember;
using JsonArray = std::vector<Json>;
using JsonObject = std::vector<JsonMember>;  // in order, names unique

struct Json {
  std::variant<std::nullptr_t, bool, double, std::string, JsonArray, JsonObject> value;

  template <class T>
  const T* as() const {
    return std::get_if<T>(&value);
  }
  // The member of that name of an object; null when there is none.
  const Json* find(std::string_view name) const;
};
struct JsonMember {
  std::string name;
  Json value;
};

// Throws corrupt with the offset of the first mistake; values nest at most 16 deep.
Json parse_json(std::string_view text);
// A string literal.
std::string quote_json(std::string_view text);

}  // namespace ml::files
