// The IR: a list of nodes in topological order over typed values.
//
// A graph is a pure function. State is an input paired with an output by a donation: the runtime keeps both in one
// buffer. Nodes are only ever appended; passes build a new graph and swap it in.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "engine/graph/constant.h"
#include "engine/graph/op.h"

namespace ml {

using ValueId = std::uint32_t;
inline constexpr ValueId kNoValue = ~ValueId{0};
inline constexpr std::uint32_t kNoNode = ~std::uint32_t{0};

struct Value {
  TensorType type;
  std::uint32_t producer = kNoNode;  // index of the node, kNoNode for a graph input
  std::uint32_t output = 0;          // which output of the producer, or which input of the graph
};

struct Node {
  const Op* op;
  AttributesPtr attributes;  // never null
  std::vector<ValueId> inputs;
  ValueId first_output;  // outputs have consecutive ids
  std::uint32_t output_count;

  ValueId output(std::uint32_t i) const { return first_output + i; }
  template <class T>
  const T& as() const {
    return static_cast<const T&>(*attributes);
  }
};

struct GraphInput {
  std::string name;
  ValueId value;
  std::vector<std::string> symbols;  // empty, or one per dimension: the name of an unknown extent, "" where it is known
};
struct GraphOutput {
  std::string name;
  ValueId value;
};
// Input `input` and output `output` are one buffer, updated in place.
struct Donation {
  std::uint32_t input;
  std::uint32_t output;
};

class Graph {
 public:
  std::string name = "main";

  // Appends an input. Where an extent is kUnknown, `symbols` names it; equal names mean equal extents.
  ValueId add_input(std::string input_name, TensorType type, std::vector<std::string> symbols = {});
  // Appends a node after checking it against the op's shape rule; answers its first output. Null attributes mean
  // NoAttributes.
  ValueId add(const Op& op, AttributesPtr attributes, std::span<const ValueId> node_inputs);
  // The same for a node whose output types are already known to be right (copies between graphs).
  ValueId add_unchecked(const Op& op, AttributesPtr attributes, std::span<const ValueId> node_inputs,
                        std::span<const TensorType> types);
  ValueId add_constant(ConstantPtr constant);
  void add_output(std::string output_name, ValueId value);
  void donate(std::uint32_t input, std::uint32_t output);

  std::span<const Node> nodes() const { return nodes_; }
  // References to values and their types stay good while nodes are appended.
  const std::deque<Value>& values() const { return values_; }
  std::span<const GraphInput> inputs() const { return inputs_; }
  std::span<const GraphOutput> outputs() const { return outputs_; }
  std::span<const Donation> donations() const { return donations_; }
  const TensorType& type(ValueId value) const { return values_[value].type; }
  // The node that produces `value`, null for a graph input.
  const Node* producer(ValueId value) const;
  // The constant that `value` is, null when it is none.
  const ConstantData* constant(ValueId value) const;
  // No extent of any value is unknown.
  bool bound() const;

 private:
  std::vector<Node> nodes_;
  std::deque<Value> values_;
  std::vector<GraphInput> inputs_;
  std::vector<GraphOutput> outputs_;
  std::vector<Donation> donations_;
};

// How often each value is read by nodes and outputs.
std::vector<std::uint32_t> use_counts(const Graph& graph);
std::vector<TensorType> types_of(const Graph& graph, std::span<const ValueId> values);
// Appends the nodes of `body` to `into` with its inputs replaced by `arguments`; answers the values of its outputs.
std::vector<ValueId> inline_graph(Graph& into, const Graph& body, std::span<const ValueId> arguments);
// Same nodes, attributes, types, names and donations.
bool equal(const Graph& a, const Graph& b);
std::uint64_t hash(const Graph& graph);

// Throws ml::Error naming the node when anything the IR promises is broken: order, arity, types against the shape
// rules, closed subgraphs, donations of equal type that alias nothing, names. Everything that comes from outside goes
// through it.
void verify(const Graph& graph);

}  // namespace ml
