// Gradients: the recorded expression becomes a graph, autodiff appends to it, and what was appended is recorded again.
#include "ml/grad.h"

#include "engine/graph/autodiff.h"
#include "libmlclient/tensor/trace.h"

namespace ml {
namespace {

using client::Call;
using client::TensorValue;
using client::TensorValuePtr;
using client::ValueKind;

// The part of an expression that gradients flow through, as a graph; tensors[i] is value i of it.
class Unrolled {
 public:
  explicit Unrolled(const TensorValuePtr& root) {
    push(root);
    while (!stack_.empty()) {
      if (const TensorValuePtr* input = next_input()) {
        push(*input);
        continue;
      }
      append(stack_.back().value);
      stack_.pop_back();
    }
  }

  Graph graph;
  std::vector<Tensor> tensors;

  // kNoValue when the expression does not depend on it.
  ValueId find(const TensorValue& value) const {
    if (value.kind == ValueKind::recorded && value.call->op != nullptr)
      return value.call->epoch == epoch_ ? value.call->mark + value.output : kNoValue;
    return value.epoch == epoch_ ? value.mark : kNoValue;
  }

 private:
  struct Frame {
    TensorValuePtr value;
    std::size_t next;
  };

  const TensorValuePtr* next_input() {
    Frame& frame = stack_.back();
    const std::vector<TensorValuePtr>& inputs = frame.value->call->inputs;
    return frame.next < inputs.size() ? &inputs[frame.next++] : nullptr;
  }

  void push(const TensorValuePtr& value) {
    if (value->kind == ValueKind::recorded && value->call->op != nullptr) {
      if (value->call->epoch == epoch_) return;
      value->call->epoch = epoch_;
      stack_.push_back({value, 0});
      return;
    }
    if (value->epoch == epoch_) return;  // evaluated, a placeholder or detached: where gradients end
    value->epoch = epoch_;
    value->mark = graph.add_input({}, value->type);
    add(value->mark, Tensor(value));
  }

  void append(const TensorValuePtr& value) {
    Call& call = *value->call;
    std::vector<ValueId> inputs;
    for (const TensorValuePtr& input : call.inputs) inputs.push_back(find(*input));
    call.mark = graph.add_unchecked(*call.op, call.attributes, inputs, call.outputs);
    for (std::uint32_t i = 0; i < call.outputs.size(); ++i) add(call.mark + i, output_of(value, i));
  }

  // The i-th output of the call that `value` is an output of.
  static Tensor output_of(const TensorValuePtr& value, std::uint32_t i) {
    if (value->output == i) return Tensor(value);
    auto sibling = std::make_shared<TensorValue>();
    sibling->type = value->call->outputs[i];
    sibling->output = i;
    sibling->depth = value->depth;
    sibling->call = value->call;
    return Tensor(std::move(sibling));
  }

  void add(ValueId id, Tensor tensor) {
    tensors.resize(id + 1);
    tensors[id] = std::move(tensor);
  }

  std::uint64_t epoch_ = client::next_epoch();
  std::vector<Frame> stack_;
};

[[noreturn]] void unreachable_tensor(const Unrolled& unrolled, std::size_t i, const Shape& shape) {
  for (const Tensor& tensor : unrolled.tensors) {
    if (tensor.value()->cut) {
      throw Error(Code::invalid_argument,
                  "grad: the expression grew past " + std::to_string(client::kDepthLimit) +
                      " operations in a row and was evaluated on the way, so no gradient reaches tensor " +
                      std::to_string(i) + " (" + shape.str() + ")",
                  {}, "take gradients of shorter expressions");
    }
  }
  throw Error(Code::invalid_argument,
              "grad: the loss does not depend on tensor " + std::to_string(i) + " (" + shape.str() + ")", {},
              "take gradients before eval(), item() or printing: an evaluated tensor has no history");
}

void check_arguments(const Tensor& loss, std::span<const Tensor> with_respect_to) {
  const TensorType& type = client::need(loss, "grad")->type;
  if (!type.shape.known() || type.shape.elements() != 1 || !is_differentiable(type.dtype)) {
    throw Error(
        Code::invalid_argument,
        "grad: the loss must be one floating element, it is " + std::string(dtype_name(type.dtype)) + type.shape.str(),
        {}, "reduce it with sum() or mean()");
  }
  for (const Tensor& tensor : with_respect_to) {
    if (is_differentiable(client::need(tensor, "grad")->type.dtype)) continue;
    throw Error(Code::invalid_argument,
                "grad: a tensor of " + std::string(dtype_name(tensor.dtype())) + " has no gradient", {},
                "convert it to a floating dtype first");
  }
}

// Undefined tensors where the loss does not depend on one, or an error when all must be reached.
std::vector<Tensor> record_gradients(const Tensor& loss, std::span<const Tensor> with_respect_to, bool all) {
  check_arguments(loss, with_respect_to);
  const TensorValuePtr root = loss.value();
  const std::lock_guard lock(client::recording_mutex());
  Unrolled unrolled(root);
  std::vector<Var> reached;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < with_respect_to.size(); ++i) {
    const ValueId id = unrolled.find(*with_respect_to[i].value());
    if (id == kNoValue && all) unreachable_tensor(unrolled, i, with_respect_to[i].shape());
    if (id == kNoValue) continue;
    reached.push_back({&unrolled.graph, id});
    places.push_back(i);
  }
  std::vector<Tensor> results(with_respect_to.size());
  if (reached.empty()) return results;
  const std::size_t first = unrolled.graph.nodes().size();
  // A loss of shape [1, 1] is differentiated as the number that it is.
  const Var output{&unrolled.graph, unrolled.find(*root)};
  const std::vector<Var> found = gradients(output.rank() == 0 ? output : reduce_sum(output), reached);
  const client::TracingScope no_evaluation;  // the lock is held
  client::record_nodes(unrolled.graph, first, unrolled.tensors);
  for (std::size_t k = 0; k < found.size(); ++k) results[places[k]] = unrolled.tensors[found[k].id];
  return results;
}

}  // namespace

std::vector<Tensor> client::gradients_where_reached(const Tensor& loss, std::span<const Tensor> with_respect_to) {
  return record_gradients(loss, with_respect_to, false);
}

std::vector<Tensor> grad(const Tensor& loss, std::span<const Tensor> with_respect_to) {
  return record_gradients(loss, with_respect_to, true);
}

std::vector<Tensor> grad(const Tensor& loss, std::initializer_list<Tensor> with_respect_to) {
  return grad(loss, std::span(with_respect_to.begin(), with_respect_to.size()));
}

Tensor grad(const Tensor& loss, const Tensor& with_respect_to) {
  return std::move(grad(loss, std::span(&with_respect_to, 1)).front());
}

ValueAndGradients value_and_grad(const std::function<Tensor(std::span<const Tensor>)>& function,
                                 std::span<const Tensor> at) {
  const Tensor value = function(at);
  return {value, grad(value, at)};
}

}  // namespace ml
