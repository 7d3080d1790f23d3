#include "engine/graph/ops/fused_contraction.h"

#include "engine/graph/build_control.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

bool is_activation(const Op& op) {
  for (const std::string_view name : {"relu", "gelu", "silu", "hard_swish"}) {
    if (op.name == name) return true;
  }
  return false;
}

void check_inputs(const InferArguments& a, const Graph& body) {
  if (a.inputs.size() != body.inputs().size()) {
    rules::fail(a, "its body takes " + std::to_string(body.inputs().size()) + " inputs, not " +
                       std::to_string(a.inputs.size()));
  }
  for (std::size_t i = 0; i < a.inputs.size(); ++i) {
    const TensorType& wanted = body.type(body.inputs()[i].value);
    if (a.inputs[i].dtype != wanted.dtype || !rules::same_shape(a.inputs[i].shape, wanted.shape))
      rules::fail(a,
                  "input " + std::to_string(i) + " is " + rules::text(a.inputs[i]) + ", wanted " + rules::text(wanted));
  }
}

std::vector<TensorType> infer_fused_contraction(const InferArguments& a) {
  const GraphPtr& pointer = a.as<BodyAttributes>().body;
  if (!pointer) rules::fail(a, "its body is missing");
  const Graph& body = *pointer;
  const Node* contraction = contraction_of(body);
  if (contraction == nullptr) rules::fail(a, "its body does not begin with a contraction of its first inputs");
  if (body.outputs().size() != 1)
    rules::fail(a, "its body has " + std::to_string(body.outputs().size()) + " outputs, wanted 1");
  for (const Node& node : body.nodes().subspan(1)) {
    const bool allowed =
        node.op->kind == OpKind::elementwise || node.op->kind == OpKind::constant || is_activation(*node.op);
    if (!allowed) rules::fail(a, "its body cannot hold " + std::string(node.op->name) + " behind the contraction");
  }
  const TensorType& result = body.type(body.outputs()[0].value);
  if (result != body.type(contraction->first_output)) {
    rules::fail(a, "its result is " + rules::text(result) + ", the contraction's " +
                       rules::text(body.type(contraction->first_output)));
  }
  check_inputs(a, body);
  return {result};
}

bool is_convolution(const Node& node) {
  if (node.op->name != "fused_contraction") return node.op->name == "convolution";
  return contraction_of(*node.as<BodyAttributes>().body)->op->name == "convolution";
}

std::vector<TensorType> infer_fused_convolutions(const InferArguments& a) {
  const GraphPtr& pointer = a.as<BodyAttributes>().body;
  if (!pointer) rules::fail(a, "its body is missing");
  const Graph& body = *pointer;
  const std::span<const Node> nodes = body.nodes();
  if (nodes.size() < 2)
    rules::fail(a, "its body has " + std::to_string(nodes.size()) + " nodes, wanted 2 convolutions or more");
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!is_convolution(nodes[i])) rules::fail(a, "its body cannot hold " + std::string(nodes[i].op->name));
    if (i > 0 && nodes[i].inputs[0] != nodes[i - 1].first_output)
      rules::fail(a, "node " + std::to_string(i) + " of its body does not take the one before as its image");
  }
  if (body.outputs().size() != 1 || body.outputs()[0].value != nodes.back().first_output)
    rules::fail(a, "its body does not answer its last convolution alone");
  check_inputs(a, body);
  return {body.type(nodes.back().first_output)};
}

std::vector<Var> decompose(const RuleArguments& a) {
  std::vector<ValueId> inputs;
  for (const Var& x : a.inputs) inputs.push_back(x.id);
  return {{&a.graph, inline_graph(a.graph, *a.as<BodyAttributes>().body, inputs).at(0)}};
}

double flops(const InferArguments& a, std::span<const TensorType>) {
  const Graph& body = *a.as<BodyAttributes>().body;
  double total = 0;
  for (const Node& node : body.nodes())
    total += cost(*node.op, types_of(body, node.inputs), {&body.type(node.first_output), 1}, *node.attributes).flops;
  return total;
}

const Op kOps[] = {
    {.name = "fused_contraction",
     .kind = OpKind::composite,
     .min_inputs = 2,
     .max_inputs = kVariadic,
     .infer = infer_fused_contraction,
     .gradient = no_gradient("it is made after autodiff"),
     .make_attributes = attributes_of<BodyAttributes>,
     .decompose = decompose,
     .flops = flops},
    {.name = "fused_convolutions",
     .kind = OpKind::composite,
     .min_inputs = 3,
     .max_inputs = kVariadic,
     .infer = infer_fused_convolutions,
     .gradient = no_gradient("it is made after autodiff"),
     .make_attributes = attributes_of<BodyAttributes>,
     .decompose = decompose,
     .flops = flops},
};

}  // namespace

std::span<const Op> fused_contraction_ops() { return kOps; }

const Node* contraction_of(const Graph& body) {
  if (body.nodes().empty()) return nullptr;
  const Node& node = body.nodes()[0];
  if (node.op->kind != OpKind::contraction || node.output_count != 1 || node.inputs.size() > body.inputs().size())
    return nullptr;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] != body.inputs()[i].value) return nullptr;
  }
  return &node;
}

Var fused_contraction(GraphPtr body, std::span<const Var> inputs) {
  auto attributes = std::make_shared<BodyAttributes>();
  attributes->body = std::move(body);
  return emit("fused_contraction", inputs, std::move(attributes));
}

Var fused_convolutions(GraphPtr body, std::span<const Var> inputs) {
  auto attributes = std::make_shared<BodyAttributes>();
  attributes->body = std::move(body);
  return emit("fused_convolutions", inputs, std::move(attributes));
}

}  // namespace ml
