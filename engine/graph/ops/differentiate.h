// Gradients of graphs and of decompositions, for rows that have no shorter rule.
#pragma once

#include "engine/graph/build.h"

namespace ml {

// A graph (body inputs..., a cotangent for each output that `seeded` names) -> the gradients of the body's floating
// inputs that are `wanted`, in order. Both lists have one entry per output or input; only floating ones count.
Graph gradient_graph(const Graph& body, std::span<const std::uint8_t> seeded, std::span<const std::uint8_t> wanted);

// The gradient rule of an op whose meaning is `decompose`: its decomposition, differentiated. It is made in a graph of
// its own, because in the op's graph one input may be computed from another.
std::vector<Var> differentiate(Decomposition decompose, const RuleArguments& a);

template <Decomposition decompose>
constexpr Gradient gradient_of_decomposition() {
  return gradient_by([](const RuleArguments& a) { return differentiate(decompose, a); });
}

// Which of `vars` there are.
std::vector<std::uint8_t> valid_flags(std::span<const Var> vars);
// One entry per input: the next of `gradients` where gradient_graph answers one, otherwise an invalid Var.
std::vector<Var> spread_gradients(const RuleArguments& a, std::span<const Var> gradients);

}  // namespace ml
