#include "engine/formats/onnx/subgraphs.h"

#include "ml/error.h"

namespace ml::onnx {
namespace {

constexpr int kMostTries = 8;

// Makes unknown what `next` has otherwise; answers whether anything was.
bool widen(TensorType& type, const TensorType& next, bool everything) {
  bool changed = false;
  for (int i = 0; i < type.shape.rank(); ++i) {
    if (type.shape[i] == kUnknown || (type.shape[i] == next.shape[i] && !everything)) continue;
    type.shape[i] = kUnknown;
    changed = true;
  }
  return changed;
}

}  // namespace

Var one_element(Var x) { return x.rank() == 0 ? x : reshape(x, {}); }

std::vector<TensorType> types_of(std::span<const Var> values) {
  std::vector<TensorType> types;
  for (const Var& value : values) types.push_back(value.type());
  return types;
}

Turn import_turn(const NodeContext& n, const Subgraph& body, std::vector<TensorType> types, std::size_t first,
                 std::size_t carried, std::size_t first_result, const Arguments& arguments) {
  bool steady = true;
  for (int tries = 1;; ++tries) {
    Turn turn{types, std::unique_ptr<Target>(new Target(n.target().body())), {}, steady};
    std::vector<Var> inputs;
    for (const TensorType& type : types) {
      Graph& graph = turn.target->graph;
      inputs.push_back({&graph, graph.add_input("in" + std::to_string(inputs.size()), type)});
    }
    turn.results = body.import(arguments(inputs), *turn.target);
    bool changed = false;
    for (std::size_t i = 0; i < carried; ++i) {
      const Value& next = turn.results.at(first_result + i);
      TensorType& type = types[first + i];
      if (next.kind != Value::Kind::tensor) continue;  // the caller looks at kinds
      if (next.tensor.dtype() != type.dtype) {
        n.invalid("what it carries as value " + std::to_string(i) + " is " + std::string(dtype_name(type.dtype)) +
                  type.shape.str() + " before and " + describe(next) + " after a turn");
      }
      if (next.tensor.rank() != type.shape.rank())
        n.unsupported("a carried value whose rank changes from " + type.shape.str() + " to " +
                      next.tensor.shape().str());
      changed = widen(type, next.tensor.type(), tries >= kMostTries) || changed;
    }
    if (!changed) return turn;
    steady = false;
  }
}

}  // namespace ml::onnx
