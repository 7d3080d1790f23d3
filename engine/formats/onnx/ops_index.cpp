// Operators whose addresses come from tensors.
#include "engine/formats/onnx/node.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

Results gather_operator(Node n) { return {gather(n.in(0), n.in(1), n.integer("axis", 0))}; }
Results gather_elements_operator(Node n) { return {gather_elements(n.in(0), n.in(1), n.integer("axis", 0))}; }

Results scatter_elements(Node n) {
  const std::string reduction = n.text("reduction", "none");
  if (reduction != "add") n.unsupported("ScatterElements with reduction '" + reduction + "'");
  return {scatter_elements_add(n.in(0), n.in(1), n.in(2), n.integer("axis", 0))};
}

// values = [off, on]; indices outside of [-depth, depth) give a row of "off".
Results one_hot(Node n) {
  const Var indices = cast(n.in(0), DType::i64), values = n.in(2);
  const auto depth = static_cast<std::int64_t>(n.number_input(1, 0));
  if (depth < 0) n.invalid("a depth of " + std::to_string(depth));
  const int rank = indices.rank() + 1;
  const int axis = normalize_axis(n.integer("axis", -1), rank, "axis");
  const Var wrapped = select(lt(indices, 0.0), indices + static_cast<double>(depth), indices);
  Shape range;
  for (int i = 0; i < rank; ++i) range.append(i == axis ? depth : 1);
  const Var hot = eq(unsqueeze(wrapped, {axis}), iota(n.graph, DType::i64, range, axis));
  const Var off = reshape(slice(values, {0}, {1}), {}), on = reshape(slice(values, {1}, {2}), {});
  return {select(hot, on, off)};
}

Results top_k_operator(Node n) {
  const auto k = n.version() < 10 ? n.integer("k", 0) : static_cast<std::int64_t>(n.number_input(1, 0));
  const auto [values, indices] = top_k(n.in(0), k, n.integer("axis", -1), n.integer("largest", 1) != 0);
  return {values, indices};
}

constexpr Operator kOperators[] = {
    {"Gather", 1, kAny, gather_operator}, {"GatherElements", 11, kAny, gather_elements_operator},
    {"OneHot", 9, kAny, one_hot},         {"ScatterElements", 11, kAny, scatter_elements},
    {"TopK", 1, kAny, top_k_operator},
};

}  // namespace

std::span<const Operator> index_operators() { return kOperators; }

}  // namespace ml::onnx
