// Tables of shape rules at work: what a call of the builder functions makes, or says.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/build.h"

namespace ml::test {

struct ShapeCase {
  const char* name;
  Var (*build)(Graph& graph);
  // The types of every output of the node that `build` ends in, "f32[2, ?] i64[2, ?]"; or "! " and what the error says.
  const char* expects;
};

// A graph input of the type that `type` tells: "f32[2, ?]".
Var in(Graph& graph, std::string_view type);
std::string text(const TensorType& type);

// Attributes with the fields that `set` sets: for what builder functions never make.
template <class T, class F>
AttributesPtr attributes(F set) {
  auto made = std::make_shared<T>();
  set(*made);
  return made;
}

// One table a family.
std::span<const ShapeCase> elementwise_cases();
std::span<const ShapeCase> matmul_cases();
std::span<const ShapeCase> reduce_cases();
std::span<const ShapeCase> movement_cases();
std::span<const ShapeCase> indexing_cases();
std::span<const ShapeCase> network_cases();
std::span<const ShapeCase> softmax_cases();
std::span<const ShapeCase> norm_cases();
std::span<const ShapeCase> sequence_cases();
std::span<const ShapeCase> random_cases();
std::span<const ShapeCase> optimizer_cases();
std::span<const ShapeCase> detection_cases();
std::span<const ShapeCase> quantize_cases();
std::span<const ShapeCase> control_cases();
std::vector<ShapeCase> all_shape_cases();

}  // namespace ml::test
