// Cases for the test of every gradient: functions of f64 tensors, with inputs that keep away from their kinks.
#pragma once

#include <span>
#include <vector>

#include "engine/graph/build.h"

namespace ml::test {

// What an input's elements are drawn from. Kinks are avoided here, not by tolerance.
struct Draw {
  enum class Kind {
    uniform,   // anywhere in [low, high]
    apart,     // in [low, high], no two of them closer than a third of an even spacing
    fraction,  // an integer of [low, high) plus something in [0.25, 0.75]
  };
  Kind kind = Kind::uniform;
  double low = -2;
  double high = 2;
};
inline constexpr Draw kAnywhere{};
inline constexpr Draw kPositive{Draw::Kind::uniform, 0.5, 2};
inline constexpr Draw kInside{Draw::Kind::uniform, -0.8, 0.8};
inline constexpr Draw kApart{Draw::Kind::apart, -2, 2};
inline constexpr Draw kFraction{Draw::Kind::fraction, -3, 3};

struct Parameter {
  Shape shape;
  Draw values = kAnywhere;
};

using Vars = std::vector<Var>;

// The gradient of every floating output by every parameter is compared with central differences, and so is the gradient
// of that gradient.
struct GradientCase {
  const char* name;
  std::vector<Parameter> parameters;
  Vars (*build)(Graph& graph, std::span<const Var> parameters);
  const char* first_order_only = nullptr;  // why there is no second order
};

// A constant i64 tensor.
Var indices(Graph& graph, const Shape& shape, Ints values);

std::span<const GradientCase> elementwise_gradients();
std::span<const GradientCase> movement_gradients();
std::span<const GradientCase> contraction_gradients();
std::span<const GradientCase> network_gradients();
std::span<const GradientCase> sequence_gradients();

}  // namespace ml::test
