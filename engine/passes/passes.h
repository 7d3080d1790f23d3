// Graph to graph. Each pass builds a new graph from the one it is given; the order they run in stands in pipeline.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/graph/graph.h"

namespace ml::passes {

// Computes one node from constant inputs: how passes evaluate without knowing a backend. The runtime hands in its
// reference device.
using Evaluate =
    std::function<std::vector<ConstantPtr>(const Graph& graph, const Node& node, std::span<const ConstantPtr> inputs)>;

// Gives every symbolic extent its value by input name and shape, and infers every type again; values that became
// constant (shape arithmetic) are folded on the way. Throws invalid_argument naming the input when a shape contradicts
// the graph or a symbol. `known` may say values of inputs (null where it doesn't; empty: of none), which then decide
// shapes like constants. What depends on other values stays unknown: see split().
Graph bind(const Graph& graph, std::span<const Shape> input_shapes, const Evaluate& evaluate,
           std::span<const ConstantPtr> known = {});

// A graph with bound inputs in which values decide shapes, cut in two: what can run now, and what can be bound once
// `later`'s inputs `keys` have been read.
struct Stages {
  struct Source {
    bool is_input;        // of the whole graph, otherwise an output of `now`
    std::uint32_t index;  // among those
  };
  Graph now;                               // takes the whole graph's inputs
  std::vector<std::uint32_t> now_outputs;  // which outputs of the whole its first outputs are; the others cross over
  Graph later;
  std::vector<Source> later_inputs;
  std::vector<std::uint32_t> later_outputs;  // which outputs of the whole its outputs are
  std::vector<std::uint32_t> keys;           // inputs of `later` that decide shapes
};
// Throws unsupported naming the node when no value could tell more. Donations are all in `later`.
Stages split(const Graph& graph);

// Evaluates nodes whose inputs are constants, when the result is at most `limit` bytes.
Graph fold(const Graph& graph, const Evaluate& evaluate, std::uint64_t limit = 1u << 20);
// Drops nodes that no output depends on.
Graph eliminate_dead_code(const Graph& graph);
// One node for nodes with equal op, attributes and inputs.
Graph eliminate_common_subexpressions(const Graph& graph);
// What arithmetic does not need to be done: x * 1, two casts that lose nothing, neg of neg, a square by pow.
Graph clean_algebra(const Graph& graph);
// What moves twice moves once, and what would stay where it is does not move.
Graph clean_movement(const Graph& graph);
// relu, silu, hard_swish and gelu, found in the arithmetic that exporters write for them.
Graph find_activations(const Graph& graph);
// softmax and log_softmax, found in exponentials and sums.
Graph find_softmax(const Graph& graph);
// layer_norm, found in means, squares and roots.
Graph find_norms(const Graph& graph);
// Makes new constant weights of convolutions and products from constants that follow them: batch norms, factors, terms.
Graph fold_into_weights(const Graph& graph);
// Inlines `call` and replaces composites for which keep(node) is false by their decomposition, until none is left.
using KeepRule = std::function<bool(const Graph& graph, const Node& node)>;
Graph decompose(const Graph& graph, const KeepRule& keep);
// attention, found in products around a softmax of a bound graph, where keep(node) takes it.
Graph find_attention(const Graph& graph, const KeepRule& keep);
// Joins convolutions and products with what is done to each element of their results, as far as keep(node) takes it.
Graph join_epilogues(const Graph& graph, const KeepRule& keep);
// Joins two convolutions where nobody else reads what is between them, with their epilogues, if keep(node) takes both.
Graph join_convolutions(const Graph& graph, const KeepRule& keep);
// Groups element-wise nodes, and a reduction at their end, into `fused` nodes whose body is the group.
Graph fuse(const Graph& graph);

// How a value lies in memory: its dimensions, outermost first. Empty: in their own order (row-major).
using DimOrder = std::vector<int>;
// The orders that the kernel of a node would like; none: it wants row-major operands and answers row-major results.
struct PreferredOrders {
  std::vector<DimOrder> inputs, outputs;
};
using Prefer = std::function<std::optional<PreferredOrders>(const Graph& graph, const Node& node)>;
struct LaidOut {
  Graph graph;                   // with a broadcast_to of equal shape wherever a value changes its order
  std::vector<DimOrder> orders;  // per value; graph inputs, outputs and constants are row-major
};
// Chooses orders so that chains of kernels with the same taste need no copies; element-wise nodes follow their
// operands.
LaidOut assign_layouts(const Graph& graph, const Prefer& prefer);

// What holds for every shape, done once when a program is loaded: fold, common subexpressions, dead code.
Graph simplify(const Graph& graph, const Evaluate& evaluate);
// A bound graph as a device wants it, once for each combination of shapes.
struct Target {
  KeepRule keep;            // composites that the device has kernels for
  bool runs_fused = false;  // it takes `fused` nodes
};
Graph lower(const Graph& graph, const Target& target, const Evaluate& evaluate);

}  // namespace ml::passes
