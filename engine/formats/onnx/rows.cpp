#include "engine/formats/onnx/rows.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/writer.h"
#include "engine/graph/ops/control.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"
#include "ml/error.h"

namespace ml::onnx {

const OpWriter* find_writer(const Graph& graph, const Node& node) {
  for (const auto table : std::array{quantized_writers, function_writers, element_writers, structure_writers,
                                     recurrent_writers, control_writers}) {
    for (const OpWriter& row : table()) {
      if (row.op == node.op->name && (row.accepts == nullptr || row.accepts(graph, node))) return &row;
    }
  }
  return nullptr;
}

namespace {

// Calls a function on each body that attributes hold.
class Bodies final : public AttributeVisitor {
 public:
  using OnBody = std::function<void(GraphPtr& body)>;
  explicit Bodies(OnBody on_body) : on_body_(std::move(on_body)) {}
  void field(const char*, bool&) override {}
  void field(const char*, std::int64_t&) override {}
  void field(const char*, double&) override {}
  void field(const char*, DType&) override {}
  void field(const char*, Shape&) override {}
  void field(const char*, Ints&) override {}
  void field(const char*, ConstantPtr&) override {}
  void field(const char*, GraphPtr& body) override { on_body_(body); }

 private:
  OnBody on_body_;
};

// Rows without a counterpart fall apart. Some can't before extents are known.
Graph decomposed(const Graph& source) {
  const auto keep = [](const Graph& graph, const Node& node) {
    return node.op->decompose == nullptr || find_writer(graph, node) != nullptr;
  };
  try {
    return passes::eliminate_dead_code(passes::decompose(source, keep));
  } catch (const Error& error) {
    if (error.code() != Code::invalid_argument || source.bound()) throw;
    throw Error(Code::unsupported,
                "ONNX has no counterpart for: a row that can be taken apart only once extents are known (" +
                    error.message() + ")",
                {}, "export a model whose shapes are known");
  }
}

// Null where there are no bodies.
std::shared_ptr<Attributes> copy_with_bodies(const Attributes& attributes) {
  if (const auto* branches = dynamic_cast<const IfAttributes*>(&attributes))
    return std::make_shared<IfAttributes>(*branches);
  if (const auto* loop = dynamic_cast<const WhileAttributes*>(&attributes))
    return std::make_shared<WhileAttributes>(*loop);
  if (const auto* scan = dynamic_cast<const ScanAttributes*>(&attributes))
    return std::make_shared<ScanAttributes>(*scan);
  return nullptr;
}

Graph decomposed_with_bodies(const Graph& source) {
  const Graph graph = decomposed(source);
  passes::Rewriter rewriter(graph);
  rewriter.copy_inputs();
  for (const Node& node : graph.nodes()) {
    Node copy = node;
    if (const std::shared_ptr<Attributes> attributes = copy_with_bodies(*node.attributes)) {
      Bodies replace([](GraphPtr& body) { body = std::make_shared<const Graph>(decomposed_with_bodies(*body)); });
      attributes->visit(replace);
      copy.attributes = attributes;
    }
    rewriter.copy(copy);
  }
  return rewriter.finish();
}

// Of the nodes of a graph and those of bodies in it.
void for_each_row(const Graph& graph, const std::function<void(const Graph& owner, const Node& node)>& on_row) {
  Bodies inner([&](GraphPtr& body) { for_each_row(*body, on_row); });
  for (const Node& node : graph.nodes()) {
    if (node.op->kind == OpKind::constant) continue;
    on_row(graph, node);
    inspect(*node.attributes, inner);
  }
}

void refuse_missing(const Graph& graph) {
  std::map<std::string, int> missing;
  for_each_row(graph, [&](const Graph& owner, const Node& node) {
    if (find_writer(owner, node) == nullptr) ++missing[std::string(node.op->name)];
  });
  if (missing.empty()) return;
  std::string text;
  for (const auto& [op, count] : missing) text += (text.empty() ? "" : ", ") + op + " (" + std::to_string(count) + ")";
  throw Error(Code::unsupported, "ONNX has no counterpart for: " + text);
}

}  // namespace

Graph in_written_rows(const Graph& source) {
  Graph graph = decomposed_with_bodies(source);
  refuse_missing(graph);
  return graph;
}

int opset_of_types(const Graph& graph) {
  int opset = kEarliestOpset;
  for (const GraphInput& input : graph.inputs()) opset = std::max(opset, opset_of(graph.type(input.value).dtype));
  for (const Node& node : graph.nodes()) {
    opset = std::max(opset, opset_of_types(graph, node));
    Bodies inner([&](GraphPtr& body) { opset = std::max(opset, opset_of_types(*body)); });
    inspect(*node.attributes, inner);
  }
  return opset;
}

}  // namespace ml::onnx
