// What every pass does: walk one graph and build another, remembering which new value stands for which old one.
#pragma once

#include <span>
#include <vector>

#include "engine/graph/graph.h"

namespace ml::passes {

class Rewriter {
 public:
  // Starts with `from`'s name; inputs() copies its inputs, a pass that changes their types adds them itself.
  explicit Rewriter(const Graph& from) : from_(from), mapped_(from.values().size(), kNoValue) {
    result_.name = from.name;
  }

  const Graph& from() const { return from_; }
  Graph& graph() { return result_; }

  void copy_inputs() {
    for (const GraphInput& input : from_.inputs())
      map(input.value, result_.add_input(input.name, from_.type(input.value), input.symbols));
  }

  void map(ValueId old_value, ValueId new_value) { mapped_[old_value] = new_value; }
  // The outputs of `node` are the consecutive values from `first` on.
  void map_outputs(const Node& node, ValueId first) {
    for (std::uint32_t i = 0; i < node.output_count; ++i) map(node.output(i), first + i);
  }
  ValueId mapped(ValueId old_value) const { return mapped_[old_value]; }
  std::vector<ValueId> mapped_inputs(const Node& node) const {
    std::vector<ValueId> inputs;
    inputs.reserve(node.inputs.size());
    for (const ValueId input : node.inputs) inputs.push_back(mapped(input));
    return inputs;
  }

  // The same node on the new values.
  void copy(const Node& node) { map_outputs(node, append(from_, node, mapped_inputs(node))); }

  // A node of any graph, on inputs of this one; answers its first output.
  ValueId append(const Graph& owner, const Node& node, std::span<const ValueId> inputs) {
    std::vector<TensorType> types;
    types.reserve(node.output_count);
    for (std::uint32_t i = 0; i < node.output_count; ++i) types.push_back(owner.type(node.output(i)));
    return result_.add_unchecked(*node.op, node.attributes, inputs, types);
  }

  // The new graph, with the old one's outputs and donations.
  Graph finish() {
    for (const GraphOutput& output : from_.outputs()) result_.add_output(output.name, mapped(output.value));
    for (const Donation& donation : from_.donations()) result_.donate(donation.input, donation.output);
    return std::move(result_);
  }

 private:
  const Graph& from_;
  Graph result_;
  std::vector<ValueId> mapped_;
};

}  // namespace ml::passes
