#include <string>

#include "engine/graph/build.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"
#include "ml/error.h"

namespace ml::passes {
namespace {

class Decomposer {
 public:
  Decomposer(const Graph& graph, const KeepRule& keep) : rewriter_(graph), keep_(keep) {}

  Graph run() {
    rewriter_.copy_inputs();
    const Graph& graph = rewriter_.from();
    for (const Node& node : graph.nodes()) {
      const std::vector<ValueId> results = append(graph, node, rewriter_.mapped_inputs(node));
      for (std::uint32_t i = 0; i < node.output_count; ++i) rewriter_.map(node.output(i), results[i]);
    }
    return eliminate_dead_code(rewriter_.finish());
  }

 private:
  // Appends what `node` of `owner` becomes on `inputs` of the new graph; answers the values of its outputs.
  std::vector<ValueId> append(const Graph& owner, const Node& node, std::span<const ValueId> inputs) {
    if (node.op->name == "call") return append_all(*node.as<BodyAttributes>().body, inputs);
    if (node.op->decompose == nullptr || keep_(owner, node)) {
      const ValueId first = rewriter_.append(owner, node, inputs);
      std::vector<ValueId> results;
      for (std::uint32_t i = 0; i < node.output_count; ++i) results.push_back(first + i);
      return results;
    }
    return append_all(decomposition_of(owner, node), inputs);
  }

  std::vector<ValueId> append_all(const Graph& body, std::span<const ValueId> arguments) {
    std::vector<ValueId> mapped(body.values().size(), kNoValue);
    for (std::size_t i = 0; i < arguments.size(); ++i) mapped[body.inputs()[i].value] = arguments[i];
    std::vector<ValueId> inputs;
    for (const Node& node : body.nodes()) {
      inputs.clear();
      for (const ValueId input : node.inputs) inputs.push_back(mapped[input]);
      const std::vector<ValueId> results = append(body, node, inputs);
      for (std::uint32_t i = 0; i < node.output_count; ++i) mapped[node.output(i)] = results[i];
    }
    std::vector<ValueId> results;
    for (const GraphOutput& output : body.outputs()) results.push_back(mapped[output.value]);
    return results;
  }

  // The decomposition as a graph of its own, so that its nodes are looked at like any others.
  static Graph decomposition_of(const Graph& owner, const Node& node) {
    Graph body;
    std::vector<Var> inputs;
    for (const ValueId id : node.inputs) {
      inputs.push_back(input(body, "", owner.type(id).dtype, owner.type(id).shape));
    }
    const std::vector<Var> outputs = node.op->decompose({body, inputs, {}, {}, node.attributes});
    if (outputs.size() != node.output_count) {
      throw Error(Code::internal, std::string(node.op->name) + ": its decomposition gives " +
                                      std::to_string(outputs.size()) + " values, not " +
                                      std::to_string(node.output_count));
    }
    for (std::uint32_t i = 0; i < node.output_count; ++i) {
      if (outputs[i].type() != owner.type(node.output(i))) {
        throw Error(Code::internal, std::string(node.op->name) + ": output " + std::to_string(i) +
                                        " of its decomposition has the wrong type");
      }
      output("", outputs[i]);
    }
    return body;
  }

  Rewriter rewriter_;
  const KeepRule& keep_;
};

}  // namespace

Graph decompose(const Graph& graph, const KeepRule& keep) { return Decomposer(graph, keep).run(); }

}  // namespace ml::passes
