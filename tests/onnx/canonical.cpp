#include "tests/onnx/canonical.h"

#include <functional>
#include <map>
#include <memory>

#include "engine/graph/hashing.h"
#include "engine/graph/limits.h"
#include "engine/graph/ops/control.h"
#include "engine/graph/text.h"
#include "ml/error.h"

namespace ml::onnx_test {
namespace {

class Canonical {
 public:
  Canonical(const Graph& graph, const passes::Evaluate& evaluate)
      : evaluate_(evaluate), graph_(cleaned(graph)), mapped_(graph_.values().size(), kNoValue) {}

  Graph run() {
    for (const GraphInput& input : graph_.inputs()) {
      std::vector<std::string> symbols;
      for (const std::string& symbol : input.symbols) symbols.push_back(symbol.empty() ? "" : number_of(symbol));
      const std::string name = "x" + std::to_string(result_.inputs().size());
      mapped_[input.value] = result_.add_input(name, graph_.type(input.value), std::move(symbols));
    }
    for (const GraphOutput& output : graph_.outputs())
      result_.add_output("y" + std::to_string(result_.outputs().size()), written(output.value));
    return std::move(result_);
  }

 private:
  Graph cleaned(const Graph& graph) const {
    const Graph simple = passes::simplify(graph, evaluate_);
    try {
      const passes::Target none{[](const Graph&, const Node&) { return false; }};
      return passes::lower(passes::lower(simple, none, evaluate_), none, evaluate_);
    } catch (const Error& error) {
      if (error.code() != Code::invalid_argument || graph.bound()) throw;
      return simple;  // composites that fall apart only once extents are known
    }
  }

  std::string number_of(const std::string& symbol) {
    return "s" + std::to_string(symbols_.try_emplace(symbol, symbols_.size()).first->second);
  }

  ValueId written(ValueId value) {
    if (mapped_[value] != kNoValue) return mapped_[value];
    Node node = *graph_.producer(value);
    node.attributes = attributes_of(node);
    std::vector<ValueId> inputs;
    for (const ValueId input : node.inputs) inputs.push_back(written(input));
    std::vector<TensorType> types;
    for (std::uint32_t i = 0; i < node.output_count; ++i) types.push_back(graph_.type(node.output(i)));
    const ValueId first = result_.add_unchecked(*node.op, node.attributes, inputs, types);
    for (std::uint32_t i = 0; i < node.output_count; ++i) mapped_[node.output(i)] = first + i;
    return mapped_[value];
  }

  // Bodies that a node captures constants for repeat them instead; takes those from its inputs.
  AttributesPtr attributes_of(Node& node) const {
    const Attributes* attributes = node.attributes.get();
    if (const auto* constant = dynamic_cast<const ConstantAttributes*>(attributes)) return hashed(*constant);
    if (const auto* branches = dynamic_cast<const IfAttributes*>(attributes)) {
      auto copy = std::make_shared<IfAttributes>(*branches);
      replace({&copy->then_body, &copy->else_body}, node, 1, 1);
      return copy;
    }
    if (const auto* loop = dynamic_cast<const WhileAttributes*>(attributes)) {
      auto copy = std::make_shared<WhileAttributes>(*loop);
      replace({&copy->condition, &copy->body}, node, 0, static_cast<std::size_t>(loop->carried));
      return copy;
    }
    if (const auto* scan = dynamic_cast<const ScanAttributes*>(attributes)) {
      auto copy = std::make_shared<ScanAttributes>(*scan);
      replace({&copy->body}, node, 0, static_cast<std::size_t>(scan->carried + scan->scanned));
      return copy;
    }
    return node.attributes;
  }

  // The node's inputs from `first` on are the bodies', of which those from `captured` on are captured.
  void replace(std::initializer_list<GraphPtr*> bodies, Node& node, std::size_t first, std::size_t captured) const {
    for (GraphPtr* body : bodies) {
      Graph open;
      std::vector<ValueId> arguments;
      for (std::size_t i = 0; i < (*body)->inputs().size(); ++i) {
        const GraphInput& input = (*body)->inputs()[i];
        const ValueId outside = node.inputs[first + i];
        arguments.push_back(inside(outside, first + i, captured)
                                ? open.add_constant(graph_.producer(outside)->as<ConstantAttributes>().value)
                                : open.add_input(input.name, (*body)->type(input.value), input.symbols));
      }
      const std::vector<ValueId> results = inline_graph(open, **body, arguments);
      for (std::size_t i = 0; i < results.size(); ++i) open.add_output((*body)->outputs()[i].name, results[i]);
      *body = std::make_shared<const Graph>(Canonical(open, evaluate_).run());
    }
    std::vector<ValueId> left;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (!inside(node.inputs[i], i, captured)) left.push_back(node.inputs[i]);
    }
    node.inputs = left;
  }
  bool inside(ValueId value, std::size_t place, std::size_t captured) const {
    return place >= captured && graph_.constant(value) != nullptr;
  }

  static AttributesPtr hashed(const ConstantAttributes& constant) {
    const std::span<const std::byte> bytes = constant.value->bytes();
    auto copy = std::make_shared<ConstantAttributes>(constant);
    if (bytes.size() <= kInlineConstantBytes) return copy;
    const std::uint64_t hash = hash_bytes(bytes);
    copy->value = make_constant(DType::u64, {1}, std::as_bytes(std::span(&hash, 1)));
    return copy;
  }

  const passes::Evaluate& evaluate_;
  const Graph graph_;
  Graph result_;
  std::vector<ValueId> mapped_;
  std::map<std::string, std::size_t> symbols_;
};

}  // namespace

std::string canonical(const Graph& graph, const passes::Evaluate& evaluate) {
  return print(Canonical(graph, evaluate).run());
}

}  // namespace ml::onnx_test
