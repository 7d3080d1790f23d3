#include "engine/backends/cpu/epilogue.h"

#include <algorithm>
#include <limits>

#include "engine/backends/cpu/channels_last.h"
#include "engine/graph/ops/fused_contraction.h"

namespace ml::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The number that a constant of a body is everywhere; false when it is none.
bool splat_of(const Graph& body, ValueId value, double& number) {
  const ConstantData* constant = body.constant(value);
  return constant != nullptr && constant->shape.elements() > 0 && splat_value(*constant, number);
}

bool reads(const Node& node, ValueId value) { return std::ranges::find(node.inputs, value) != node.inputs.end(); }

}  // namespace

ContractionRequest::ContractionRequest(const KernelRequest& request)
    : request_(request), contraction_(contraction_of(request)) {
  if (request.op.name == "fused_contraction") {
    if (contraction_.inputs.size() == 3) bias = 2;
    low = -kInfinity;
    high = kInfinity;
    read_body(*request.as<BodyAttributes>().body);
  } else if (contraction_.inputs.size() == 3) {
    bias = 2;
  }
}

KernelRequest ContractionRequest::contraction_of(const KernelRequest& request) {
  if (request.op.name != "fused_contraction") return request;
  const Node& node = *ml::contraction_of(*request.as<BodyAttributes>().body);
  const auto count = static_cast<std::ptrdiff_t>(node.inputs.size());
  return {*node.op, node.attributes, {request.inputs.begin(), request.inputs.begin() + count}, request.outputs};
}

const char* ContractionRequest::refuse(std::string_view op) const {
  return contraction_.op.name == op ? refused_ : refusal::kAttribute;
}

std::size_t ContractionRequest::input_of(const Graph& body, ValueId value) {
  const Value& v = body.values()[value];
  return v.producer == kNoNode ? v.output : kNone;
}

// Whether the input has one element for each column of the result and lies as a vector.
bool ContractionRequest::is_column(std::size_t input) const {
  const Operand &operand = request_.inputs[input], &result = request_.outputs[0];
  const int rank = result.type.shape.rank();
  const int axis = contraction_.op.name == "convolution" ? 1 : rank - 1;
  const Shape& shape = operand.type.shape;
  const int at = axis - (rank - shape.rank());
  if (operand.type.dtype != DType::f32 || at < 0) return false;
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape[d] != (d == at ? result.type.shape[axis] : 1)) return false;
  }
  return shape[at] == 1 || operand.layout.strides[static_cast<std::size_t>(at)] == 1;
}

bool ContractionRequest::is_whole(std::size_t input) const {
  const Operand &operand = request_.inputs[input], &result = request_.outputs[0];
  return operand.type == result.type && lies_as(operand, result.layout);
}

// The chain from the contraction to the output.
void ContractionRequest::read_body(const Graph& body) {
  refused_ = refusal::kAttribute;
  const std::span<const Node> nodes = body.nodes();
  ValueId value = nodes[0].first_output;
  for (std::size_t i = 1; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    if (node.op->kind == OpKind::constant) continue;
    if (node.output_count != 1 || !reads(node, value) || !read_node(body, node, value)) return;
    value = node.first_output;
  }
  if (body.outputs()[0].value == value) refused_ = nullptr;
}

bool ContractionRequest::read_node(const Graph& body, const Node& node, ValueId value) {
  const std::string_view op = node.op->name;
  if (residual_last) return false;
  const ValueId other = node.inputs.size() == 2 ? node.inputs[node.inputs[0] == value ? 1 : 0] : kNoValue;
  if (read_function(op)) return true;
  if ((op == "relu" || ((op == "maximum" || op == "minimum") && other != value)) && function == Function::none) {
    if (read_clamp(body, node, other)) return true;
  }
  if (op == "add" && other != value) {
    const bool last = clamps || function != Function::none;
    const std::size_t input = input_of(body, other);
    // A constant right operand is there packed, if at all.
    if (input == 1 && request_.inputs[1].constant != nullptr) return false;
    if (input != kNone && bias == kNone && !last && is_column(input)) {
      bias = input;
      return true;
    }
    if (input != kNone && residual == kNone) {
      if (!is_whole(input)) {
        refused_ = is_column(input) ? refusal::kAttribute : refusal::kLayout;
        return false;
      }
      residual = input;
      residual_last = last;
      return true;
    }
  }
  return false;
}

bool ContractionRequest::read_function(std::string_view op) {
  static constexpr std::pair<std::string_view, Function> kFunctions[] = {
      {"sigmoid", Function::sigmoid}, {"silu", Function::silu}, {"hard_swish", Function::hard_swish}};
  for (const auto& [name, wanted] : kFunctions) {
    if (op != name || function != Function::none) continue;
    function = wanted;
    return true;
  }
  return false;
}

bool ContractionRequest::read_clamp(const Graph& body, const Node& node, ValueId other) {
  double number = 0;
  if (other != kNoValue && !splat_of(body, other, number)) return false;
  const auto limit = static_cast<float>(number);
  if (node.op->name == "minimum") {
    if (!(limit >= low)) return false;
    high = std::min(high, limit);
  } else {
    if (!(limit <= high)) return false;
    low = std::max(low, limit);
  }
  clamps = true;
  return true;
}

KeptEpilogue::Launch KeptEpilogue::launch(Spans inputs, Spans outputs) const {
  const auto operand = [&](std::size_t input) {
    return input == ContractionRequest::kNone ? nullptr : data_of<float>(inputs[input]);
  };
  Launch result{operand(bias), operand(residual), data_of<float>(outputs[0]), {}};
  result.epilogue.residual_last = residual_last;
  result.epilogue.function = function;
  result.epilogue.clamps = clamps;
  result.epilogue.low = low;
  result.epilogue.high = high;
  return result;
}

void prefer_contraction(const KernelRequest& request, std::vector<Layout>& inputs, std::vector<Layout>& outputs) {
  const Shape& result = request.outputs[0].type.shape;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Shape& shape = request.inputs[i].type.shape;
    const bool activation = i == 0 || (i > 1 && shape == result);
    inputs[i] = activation ? channels_last(shape) : row_major(shape);
  }
  outputs[0] = channels_last(result);
}

}  // namespace ml::cpu
