// Where values decide shapes, a graph runs in stages: everything whose shape is known runs now, the values that decide
// are read, and the rest is bound with them as constants.
#include <algorithm>
#include <string>
#include <unordered_map>

#include "engine/passes/bodies.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"
#include "ml/error.h"

namespace ml::passes {
namespace {

class Splitter {
 public:
  explicit Splitter(const Graph& graph) : graph_(graph), rewriter_(graph), ready_(graph.values().size(), false) {}

  Stages run() {
    find_ready();
    rewriter_.copy_inputs();
    for (const Node& node : graph_.nodes()) {
      if (is_ready(node)) rewriter_.copy(node);
    }
    stages_.now = std::move(rewriter_.graph());
    stages_.later.name = graph_.name;
    choose_outputs();
    for (const Node& node : graph_.nodes()) {
      if (!is_ready(node)) append_later(node);
    }
    if (stages_.keys.empty()) refuse();
    finish_outputs();
    stages_.now = eliminate_dead_code(stages_.now);
    return std::move(stages_);
  }

 private:
  bool is_ready(const Node& node) const { return ready_[node.first_output]; }

  void find_ready() {
    for (const GraphInput& input : graph_.inputs()) ready_[input.value] = true;
    for (const Node& node : graph_.nodes()) {
      bool ready = node.op->kind != OpKind::dynamic && bodies_bound(node);
      for (const ValueId input : node.inputs) ready = ready && ready_[input];
      for (std::uint32_t i = 0; i < node.output_count; ++i) ready = ready && graph_.type(node.output(i)).shape.known();
      for (std::uint32_t i = 0; i < node.output_count; ++i) ready_[node.output(i)] = ready;
    }
  }

  // What is donated waits, so that a stage that fails leaves state as it was.
  void choose_outputs() {
    std::vector<bool> waits(graph_.outputs().size(), false);
    for (const Donation& donation : graph_.donations()) waits[donation.output] = true;
    for (std::uint32_t i = 0; i < graph_.outputs().size(); ++i) {
      const GraphOutput& output = graph_.outputs()[i];
      if (!ready_[output.value] || waits[i]) {
        stages_.later_outputs.push_back(i);
        continue;
      }
      stages_.now.add_output(output.name, rewriter_.mapped(output.value));
      stages_.now_outputs.push_back(i);
    }
  }

  // The value in `later`: made there, a constant repeated there, or handed over.
  ValueId in_later(ValueId value) {
    const auto [found, missing] = in_later_.try_emplace(value, kNoValue);
    if (!missing) return found->second;
    const Node* producer = graph_.producer(value);
    if (producer != nullptr && producer->op->kind == OpKind::constant) {
      found->second = stages_.later.add_constant(producer->as<ConstantAttributes>().value);
      return found->second;
    }
    if (producer == nullptr) {
      const std::uint32_t input = graph_.values()[value].output;
      stages_.later_inputs.push_back({true, input});
      found->second = stages_.later.add_input(graph_.inputs()[input].name, graph_.type(value));
      return found->second;
    }
    const auto index = static_cast<std::uint32_t>(stages_.now.outputs().size());
    stages_.now.add_output("value " + std::to_string(value), rewriter_.mapped(value));
    stages_.later_inputs.push_back({false, index});
    found->second = stages_.later.add_input("value " + std::to_string(value), graph_.type(value));
    return found->second;
  }

  void append_later(const Node& node) {
    std::vector<ValueId> inputs;
    std::vector<TensorType> types;
    for (const ValueId input : node.inputs) inputs.push_back(in_later(input));
    for (std::uint32_t i = 0; i < node.output_count; ++i) types.push_back(graph_.type(node.output(i)));
    const ValueId first = stages_.later.add_unchecked(*node.op, node.attributes, inputs, types);
    for (std::uint32_t i = 0; i < node.output_count; ++i) in_later_[node.output(i)] = first + i;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (decides(node, i) && ready_[node.inputs[i]]) add_key(inputs[i]);
    }
  }

  // Of a dynamic row everything but its first operand, of a branch its condition.
  static bool decides(const Node& node, std::size_t input) {
    return node.op->kind == OpKind::dynamic ? input > 0 : node.op->name == "if" && input == 0;
  }
  void add_key(ValueId value) {
    const Value& in = stages_.later.values()[value];
    if (in.producer == kNoNode && std::ranges::find(stages_.keys, in.output) == stages_.keys.end())
      stages_.keys.push_back(in.output);
  }

  void refuse() const {
    for (const Node& node : graph_.nodes()) {
      if (is_ready(node)) continue;
      throw Error(Code::unsupported, std::string(node.op->name) + ": the shape of its result can't be told", {},
                  "shapes must follow from the shapes of the inputs and from values that can be computed");
    }
  }

  void finish_outputs() {
    std::vector<std::uint32_t> place(graph_.outputs().size(), 0);
    for (std::uint32_t i = 0; i < stages_.later_outputs.size(); ++i) {
      const GraphOutput& output = graph_.outputs()[stages_.later_outputs[i]];
      stages_.later.add_output(output.name, in_later(output.value));
      place[stages_.later_outputs[i]] = i;
    }
    for (const Donation& donation : graph_.donations()) {
      in_later(graph_.inputs()[donation.input].value);
      const auto same = [&](const Stages::Source& source) { return source.is_input && source.index == donation.input; };
      const auto at = std::ranges::find_if(stages_.later_inputs, same);
      stages_.later.donate(static_cast<std::uint32_t>(at - stages_.later_inputs.begin()), place[donation.output]);
    }
  }

  const Graph& graph_;
  Rewriter rewriter_;
  std::vector<bool> ready_;
  std::unordered_map<ValueId, ValueId> in_later_;
  Stages stages_;
};

}  // namespace

Stages split(const Graph& graph) { return Splitter(graph).run(); }

}  // namespace ml::passes
