#include "libmlclient/tensor/expression.h"

#include "engine/graph/hashing.h"

namespace ml::client {
namespace {

class Walker {
 public:
  Expression expression;

  void visit(const TensorValuePtr& result) {
    push(result);
    while (!stack_.empty()) {
      Call* const call = stack_.back().call;
      if (stack_.back().next < call->inputs.size())
        push(call->inputs[stack_.back().next++]);
      else {
        stack_.pop_back();
        append(*call);
      }
    }
    const Structure::Reference reference = reference_to(result);
    expression.structure.results.push_back(reference);
    mix(reference);
  }
  void finish() { expression.structure.hash = hash_; }

 private:
  struct Frame {
    Call* call;
    std::size_t next;
  };

  void mix(std::uint64_t word) { hash_ = hash_combine(hash_, word); }
  void mix(const TensorType& type) {
    mix(static_cast<std::uint64_t>(type.dtype) << 8 | static_cast<std::uint64_t>(type.shape.rank()));
    for (const std::int64_t extent : type.shape.dims()) mix(static_cast<std::uint64_t>(extent));
  }

  // Goes to the call of a value that has not been seen yet; a value without a call becomes a leaf.
  void push(const TensorValuePtr& pointer) {
    const TensorValuePtr& value = resolve(pointer);
    if (value->kind.load(std::memory_order_relaxed) == ValueKind::recorded) {
      Call* const call = value->call.get();
      if (call->epoch == epoch_) return;
      call->epoch = epoch_;
      stack_.push_back({call, 0});
      return;
    }
    if (value->epoch == epoch_) return;
    value->epoch = epoch_;
    value->mark = Structure::kLeaf | static_cast<std::uint32_t>(expression.leaves.size());
    expression.leaves.push_back(value);
    expression.structure.leaves.push_back(value->type);
    mix(value->type);
  }

  Structure::Reference reference_to(const TensorValuePtr& pointer) const {
    const TensorValuePtr& value = resolve(pointer);
    if (value->kind.load(std::memory_order_relaxed) != ValueKind::recorded) return value->mark;
    return value->call->mark << 8 | value->output;
  }

  void append(Call& call) {
    Structure& structure = expression.structure;
    call.mark = static_cast<std::uint32_t>(structure.steps.size());
    const auto first = static_cast<std::uint32_t>(structure.inputs.size());
    mix(reinterpret_cast<std::uintptr_t>(call.op));
    mix(call.attributes_hash);
    for (const TensorValuePtr& input : call.inputs) {
      structure.inputs.push_back(reference_to(input));
      mix(structure.inputs.back());
    }
    structure.steps.push_back(
        {call.op, call.attributes, first, static_cast<std::uint32_t>(call.inputs.size()), call.outputs});
  }

  std::uint64_t epoch_ = next_epoch();
  std::uint64_t hash_ = 0;
  std::vector<Frame> stack_;
};

}  // namespace

Expression walk(std::span<const TensorValuePtr> results) {
  Walker walker;
  for (const TensorValuePtr& result : results) walker.visit(result);
  walker.finish();
  return std::move(walker.expression);
}

Graph to_graph(const Structure& structure) {
  Graph graph;
  std::vector<ValueId> leaves, steps;
  for (const TensorType& type : structure.leaves)
    leaves.push_back(graph.add_input("x" + std::to_string(leaves.size()), type));
  const auto value_of = [&](Structure::Reference reference) {
    if ((reference & Structure::kLeaf) != 0) return leaves[reference & ~Structure::kLeaf];
    return steps[reference >> 8] + (reference & 0xff);
  };
  std::vector<ValueId> inputs;
  for (const Structure::Step& step : structure.steps) {
    inputs.clear();
    for (std::uint32_t i = 0; i < step.input_count; ++i)
      inputs.push_back(value_of(structure.inputs[step.first_input + i]));
    steps.push_back(graph.add_unchecked(*step.op, step.attributes, inputs, step.outputs));
  }
  for (std::size_t i = 0; i < structure.results.size(); ++i)
    graph.add_output("y" + std::to_string(i), value_of(structure.results[i]));
  return graph;
}

}  // namespace ml::client
