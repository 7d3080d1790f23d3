// Determinants.
#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_control.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// One turn of Gauss's elimination with partial pivoting: (matrices [count, n, n], determinants so far [count], k, rows
// 0, 1, ... n - 1) -> the first two after column k.
GraphPtr elimination(const TensorType& matrices) {
  auto body = std::make_shared<Graph>();
  const Var a = input(*body, "matrices", matrices.dtype, matrices.shape);
  const Var determinants = input(*body, "determinants", matrices.dtype, Shape{matrices.shape[0]});
  const Var k = input(*body, "k", DType::i64, Shape{});
  const Var rows = input(*body, "rows", DType::i64, Shape{matrices.shape[1]});
  const Var zero = scalar(*body, matrices.dtype, 0), one = scalar(*body, matrices.dtype, 1);

  const Var column = gather(a, k, 2);
  const Var largest = argmax(select(ge(rows, k), abs(column), neg(one)), 1, true);
  const Var is_k = unsqueeze(eq(rows, k), {1}), is_largest = eq(rows, largest);
  const Var pivot = reduce_sum(select(is_largest, column, zero), {1});
  // Row k and that of the pivot change places.
  const Var row_k = unsqueeze(gather(a, k, 1), {1});
  const Var row_largest = reduce_sum(select(unsqueeze(is_largest, {2}), a, zero), {1}, true);
  const Var swapped = select(is_k, row_largest, select(unsqueeze(is_largest, {2}), row_k, a));
  const Var sign = select(eq(squeeze(largest, {1}), k), one, neg(one));
  // A pivot of zero means a column of zeros: nothing to eliminate.
  const Var divisor = unsqueeze(select(eq(pivot, zero), one, pivot), {1});
  const Var factors = select(gt(rows, k), gather(swapped, k, 2) / divisor, zero);
  output("matrices", swapped - unsqueeze(factors, {2}) * row_largest);
  output("determinants", determinants * pivot * sign);
  return body;
}

Results determinant(Node n) {
  const Var x = n.in(0);
  const int rank = x.rank();
  if (rank < 2 || (x.shape()[rank - 1] != x.shape()[rank - 2] && x.shape()[rank - 1] != kUnknown &&
                   x.shape()[rank - 2] != kUnknown))
    n.invalid("square matrices are needed, not " + x.shape().str());
  const std::vector<Var> extents = extents_of(x);
  const std::span<const Var> batch = std::span(extents).first(extents.size() - 2);
  const Var count = n.settled(product(n.graph, batch)), size = extents.back();
  const Var wide = cast(x, dtype_info(x.dtype()).compute);
  const Var matrices = shaped(n, wide, std::vector<Var>{count, size, size});
  const Var ones = filled(n, scalar(n.graph, wide.dtype(), 1), vector_of(std::vector<Var>{count}));
  const Var rows = count_up(n, size, DType::i64);
  const Var carried[] = {matrices, ones}, scanned[] = {rows}, captured[] = {rows};
  const Var results = scan(elimination(matrices.type()), carried, scanned, captured)[1];
  return {cast(shaped(n, results, batch), x.dtype())};
}

constexpr Operator kOperators[] = {
    {"Det", 11, kAny, determinant},
};

}  // namespace

std::span<const Operator> matrix_operators() { return kOperators; }

}  // namespace ml::onnx
