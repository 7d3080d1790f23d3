// Control rows and their like: attributes that carry graphs.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "engine/graph/build.h"
#include "tests/matrix/values.h"

namespace ml::test {

// A graph with control flow, and the same written out without. Both append to a graph whose inputs are given, and
// answer its outputs.
struct ControlCase {
  std::string_view op;
  const char* label;
  std::vector<TensorType> inputs;
  std::function<std::vector<Var>(std::span<const Var>)> with_control, written_out;
};
std::vector<ControlCase> control_cases();

// A closed graph with inputs of these types.
GraphPtr body(std::span<const TensorType> inputs, const std::function<std::vector<Var>(std::span<const Var>)>& build);

}  // namespace ml::test
