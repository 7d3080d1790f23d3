#include "libmlclient/tensor/call.h"

#include <algorithm>

#include "engine/graph/scalar.h"
#include "libmlclient/session/storage.h"
#include "libmlclient/tensor/evaluate.h"

namespace ml::client {
namespace {

thread_local Call* graveyard = nullptr;
thread_local bool burying = false;
thread_local int tracing = 0;

const AttributesPtr& no_attributes() {
  static const AttributesPtr none = std::make_shared<const NoAttributes>();
  return none;
}

std::uint32_t depth_behind(std::span<const TensorValuePtr> inputs) {
  std::uint32_t depth = 0;
  for (const TensorValuePtr& input : inputs) {
    if (input->kind.load(std::memory_order_acquire) == ValueKind::recorded) depth = std::max(depth, input->depth);
  }
  return depth + 1;
}

void evaluate_inputs(std::span<const TensorValuePtr> inputs) {
  std::vector<Tensor> tensors;
  for (const TensorValuePtr& input : inputs) {
    if (input->kind.load(std::memory_order_acquire) != ValueKind::recorded) continue;
    input->cut = true;
    tensors.emplace_back(input);
  }
  evaluate(tensors);
}

}  // namespace

void BuryCall::operator()(Call* call) const noexcept {
  call->next_to_bury = graveyard;
  graveyard = call;
  if (burying) return;
  burying = true;
  while (graveyard != nullptr) {
    Call* const next = graveyard;
    graveyard = next->next_to_bury;
    delete next;  // may put more into the graveyard
  }
  burying = false;
}

std::mutex& recording_mutex() {
  static std::mutex mutex;
  return mutex;
}

std::uint64_t next_epoch() {
  static std::uint64_t epoch = 0;
  return ++epoch;
}

TracingScope::TracingScope() { ++tracing; }
TracingScope::~TracingScope() { --tracing; }

const TensorValuePtr& need(const Tensor& tensor, std::string_view what) {
  if (!tensor.defined()) {
    throw Error(Code::invalid_argument, std::string(what) + ": a tensor is undefined", {},
                "give it a value first: a default-constructed ml::Tensor holds none");
  }
  return tensor.value();
}

std::vector<Tensor> record_call(const Op* op, AttributesPtr attributes, std::vector<TensorValuePtr> inputs,
                                std::vector<TensorType> outputs) {
  std::uint32_t depth = depth_behind(inputs);
  if (depth > kDepthLimit && tracing == 0) {
    evaluate_inputs(inputs);
    depth = 1;
  }
  std::shared_ptr<Call> call(new Call, BuryCall{});
  call->op = op;
  call->attributes = attributes ? std::move(attributes) : no_attributes();
  call->attributes_hash = call->attributes == no_attributes() ? 0 : hash(*call->attributes);
  call->inputs = std::move(inputs);
  call->outputs = std::move(outputs);
  std::vector<Tensor> results;
  results.reserve(call->outputs.size());
  for (std::uint32_t i = 0; i < call->outputs.size(); ++i) {
    auto value = std::make_shared<TensorValue>();
    value->type = call->outputs[i];
    value->output = i;
    value->depth = depth;
    value->call = call;
    results.emplace_back(std::move(value));
  }
  return results;
}

Tensor record(const Op& op, std::initializer_list<Tensor> inputs) {
  std::vector<TensorValuePtr> values;
  std::vector<TensorType> types;
  values.reserve(inputs.size());
  types.reserve(inputs.size());
  for (const Tensor& input : inputs) {
    values.push_back(need(input, op.name));
    types.push_back(values.back()->type);
  }
  std::vector<TensorType> outputs = infer(op, types, *no_attributes());
  return std::move(record_call(&op, nullptr, std::move(values), std::move(outputs)).front());
}

std::vector<Tensor> record_built(std::span<const Tensor> inputs, Builder build, void* context) {
  Graph graph;
  std::vector<Var> vars;
  std::vector<Tensor> known;
  for (const Tensor& tensor : inputs) {
    vars.push_back({&graph, graph.add_input({}, need(tensor, "an operation")->type)});
    known.push_back(tensor);
  }
  const std::vector<Var> results = build(context, graph, vars);
  record_nodes(graph, 0, known);
  std::vector<Tensor> tensors;
  tensors.reserve(results.size());
  for (const Var result : results) tensors.push_back(known[result.id]);
  return tensors;
}

void record_nodes(const Graph& graph, std::size_t first_node, std::vector<Tensor>& known) {
  known.resize(graph.values().size());
  for (const Node& node : graph.nodes().subspan(first_node)) {
    std::vector<TensorValuePtr> inputs;
    inputs.reserve(node.inputs.size());
    for (const ValueId input : node.inputs) inputs.push_back(known[input].value());
    std::vector<TensorType> types;
    for (std::uint32_t i = 0; i < node.output_count; ++i) types.push_back(graph.type(node.output(i)));
    std::vector<Tensor> outputs = record_call(node.op, node.attributes, std::move(inputs), std::move(types));
    for (std::uint32_t i = 0; i < node.output_count; ++i) known[node.output(i)] = std::move(outputs[i]);
  }
}

Tensor make_placeholder(TensorType type) {
  auto value = std::make_shared<TensorValue>();
  value->type = std::move(type);
  value->kind = ValueKind::placeholder;
  return Tensor(std::move(value));
}

Tensor make_scalar(DType dtype, Scalar number) {
  auto value = std::make_shared<TensorValue>();
  value->type = {dtype, {}};
  value->kind = ValueKind::scalar;
  if (number.kind() == DTypeKind::floating || is_floating(dtype))
    store_double(dtype, value->scalar.data(), number.number());
  else
    store_int(dtype, value->scalar.data(), number.integer());
  return Tensor(std::move(value));
}

Tensor make_scalar_u64(std::uint64_t number) {
  return make_scalar(DType::u64, static_cast<std::int64_t>(number));  // wraps back to the same bits
}

Tensor make_stored(TensorType type, std::shared_ptr<Storage> storage) {
  auto value = std::make_shared<TensorValue>();
  value->type = std::move(type);
  value->version = storage->version();
  value->storage = std::move(storage);
  value->kind = ValueKind::stored;
  return Tensor(std::move(value));
}

void check_readable(const TensorValue& value) {
  if (value.kind == ValueKind::placeholder) {
    throw Error(Code::invalid_argument, "the value of a tensor was read while a program was being traced", {},
                "a module's forward runs once, to be recorded: it must not call eval, item, to_vector or print");
  }
  if (value.kind == ValueKind::stored && value.version != value.storage->version()) {
    throw Error(Code::invalid_argument,
                "the memory of a tensor " + value.type.shape.str() + " was updated in place by a training step", {},
                "take it from the module again, or copy its values before the step");
  }
}

const TensorValuePtr& resolve(const TensorValuePtr& value) {
  const TensorValuePtr* at = &value;
  while ((*at)->kind.load(std::memory_order_acquire) == ValueKind::recorded && (*at)->call->op == nullptr)
    at = &(*at)->call->inputs.front();
  return *at;
}

}  // namespace ml::client
