#include <map>
#include <string>

#include "engine/graph/build.h"
#include "engine/passes/bodies.h"
#include "engine/passes/evaluation.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"
#include "ml/error.h"

namespace ml::passes {
namespace {

// Shape arithmetic is a few integers; anything larger is left to fold().
constexpr std::uint64_t kShapeBytes = 4096;
// Control nodes that are taken apart: a loop that never ends must not bind forever.
constexpr std::int64_t kMostUnrolled = 4096;

class Binder {
 public:
  Binder(const Graph& graph, const Evaluate& evaluate, bool unrolls)
      : rewriter_(graph), evaluate_(evaluate), unrolls_(unrolls) {}

  Graph run(std::span<const Shape> shapes, std::span<const ConstantPtr> known) {
    bind_inputs(shapes);
    for (std::size_t i = 0; i < known.size(); ++i) {
      if (known[i]) rewriter_.map(rewriter_.from().inputs()[i].value, rewriter_.graph().add_constant(known[i]));
    }
    const Graph& graph = rewriter_.from();
    for (const Node& node : graph.nodes()) {
      const std::vector<ValueId> results = append(node, rewriter_.mapped_inputs(node), true);
      for (std::uint32_t i = 0; i < node.output_count; ++i) rewriter_.map(node.output(i), results[i]);
    }
    return eliminate_dead_code(rewriter_.finish());
  }

 private:
  void bind_inputs(std::span<const Shape> shapes) {
    const Graph& graph = rewriter_.from();
    if (shapes.size() != graph.inputs().size()) {
      throw Error(Code::invalid_argument, "graph '" + graph.name + "' takes " + std::to_string(graph.inputs().size()) +
                                              " inputs, not " + std::to_string(shapes.size()));
    }
    struct Extent {
      std::int64_t value;
      std::size_t input;
    };
    std::map<std::string, Extent, std::less<>> symbols;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const GraphInput& input = graph.inputs()[i];
      const TensorType& declared = graph.type(input.value);
      const Shape& shape = shapes[i];
      const auto refuse = [&](const std::string& why) {
        throw Error(Code::invalid_argument, "input '" + input.name + "' is " + std::string(dtype_name(declared.dtype)) +
                                                declared.shape.str() + " and can't be bound to " + shape.str() + why);
      };
      if (!shape.known() || shape.rank() != declared.shape.rank()) refuse("");
      for (int axis = 0; axis < shape.rank(); ++axis) {
        if (declared.shape[axis] != kUnknown) {
          if (declared.shape[axis] != shape[axis]) refuse("");
          continue;
        }
        if (input.symbols.empty() || input.symbols[static_cast<std::size_t>(axis)].empty()) continue;
        const std::string& symbol = input.symbols[static_cast<std::size_t>(axis)];
        const auto [at, added] = symbols.emplace(symbol, Extent{shape[axis], i});
        if (!added && at->second.value != shape[axis]) {
          refuse(": '" + symbol + "' is " + std::to_string(at->second.value) + " in input '" +
                 graph.inputs()[at->second.input].name + "'");
        }
      }
      rewriter_.map(input.value, rewriter_.graph().add_input(input.name, {declared.dtype, shape}));
    }
  }

  // Appends what `node` becomes on `inputs` of the new graph; answers the values of its outputs. What a row's
  // specialization made is final, so it isn't specialized again; the bodies of control flow are.
  std::vector<ValueId> append(const Node& node, std::span<const ValueId> inputs, bool specialize) {
    Graph& graph = rewriter_.graph();
    const std::vector<ConstantPtr> constants = constant_inputs(graph, inputs);
    if (specialize && node.op->specialize != nullptr) {
      Graph body;
      if (specialization_of(node, inputs, constants, body))
        return append_body(body, inputs, node.op->kind == OpKind::control);
    }
    // The node is appended first, because only then are its types known; folded, it is left behind as dead code.
    const std::vector<TensorType> types = types_of(graph, inputs);
    AttributesPtr attributes = node.attributes;
    if (node.op->kind == OpKind::control) {
      BoundBodies bodies = bind_bodies(node, types, evaluate_);
      if (bodies.unrolled && unrolls_) {
        if (++unrolled_ > kMostUnrolled) {
          throw Error(Code::unsupported, std::string(node.op->name) +
                                             ": values decide shapes inside, and it makes more than " +
                                             std::to_string(kMostUnrolled) + " turns");
        }
        return append_body(*bodies.unrolled, inputs, true);
      }
      if (!bodies.unrolled) attributes = std::move(bodies.attributes);
    }
    const ValueId first = graph.add(*node.op, std::move(attributes), inputs);
    const Node& added = graph.nodes().back();
    std::vector<ValueId> results;
    const std::vector<ConstantPtr> folded = inputs.empty()
                                                ? std::vector<ConstantPtr>{}
                                                : evaluate_constant(graph, added, constants, evaluate_, kShapeBytes);
    const std::uint32_t count = added.output_count;
    for (std::uint32_t i = 0; i < count; ++i)
      results.push_back(folded.empty() ? first + i : graph.add_constant(folded[i]));
    return results;
  }

  // Writes the static form of `node` into `body`, if there is enough to tell it.
  bool specialization_of(const Node& node, std::span<const ValueId> inputs, std::span<const ConstantPtr> constants,
                         Graph& body) {
    std::vector<Var> arguments;
    std::vector<const ConstantData*> known;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const TensorType& type = rewriter_.graph().type(inputs[i]);
      arguments.push_back(input(body, "", type.dtype, type.shape));
      known.push_back(constants[i].get());
    }
    const std::vector<Var> results = node.op->specialize({body, arguments, {}, {}, node.attributes}, known);
    for (const Var& result : results) output("", result);
    return !results.empty();
  }

  std::vector<ValueId> append_body(const Graph& body, std::span<const ValueId> arguments, bool specialize) {
    std::vector<ValueId> mapped(body.values().size(), kNoValue);
    for (std::size_t i = 0; i < arguments.size(); ++i) mapped[body.inputs()[i].value] = arguments[i];
    std::vector<ValueId> inputs;
    for (const Node& node : body.nodes()) {
      inputs.clear();
      for (const ValueId id : node.inputs) inputs.push_back(mapped[id]);
      const std::vector<ValueId> results = append(node, inputs, specialize);
      for (std::uint32_t i = 0; i < node.output_count; ++i) mapped[node.output(i)] = results[i];
    }
    std::vector<ValueId> results;
    for (const GraphOutput& result : body.outputs()) results.push_back(mapped[result.value]);
    return results;
  }

  Rewriter rewriter_;
  const Evaluate& evaluate_;
  const bool unrolls_;
  std::int64_t unrolled_ = 0;  // control nodes
};

}  // namespace

Graph bind(const Graph& graph, std::span<const Shape> input_shapes, const Evaluate& evaluate,
           std::span<const ConstantPtr> known) {
  return Binder(graph, evaluate, true).run(input_shapes, known);
}

Graph bind_body(const Graph& body, std::span<const Shape> input_shapes, const Evaluate& evaluate) {
  return Binder(body, evaluate, false).run(input_shapes, {});
}

}  // namespace ml::passes
