#include "engine/graph/ops/matmul.h"

#include <utility>

#include "engine/backends/reference/kernel.h"

namespace ml::reference {
namespace {

// An operand as a stack of matrices.
struct Matrices {
  Shape batch;
  std::int64_t rows, columns;
  std::int64_t row_stride, column_stride;

  Matrices(const Shape& shape, bool transposed)
      : batch(shape.dims().first(static_cast<std::size_t>(shape.rank()) - 2)),
        rows(shape.at(-2)),
        columns(shape.at(-1)),
        row_stride(columns),
        column_stride(1) {
    if (!transposed) return;
    std::swap(rows, columns);
    std::swap(row_stride, column_stride);
  }
  std::int64_t elements() const { return rows * columns; }
};

template <class T>
void multiply(const Call& call) {
  const auto& attributes = call.as<MatmulAttributes>();
  const Matrices left(call.inputs[0].shape(), attributes.transpose_a);
  const Matrices right(call.inputs[1].shape(), attributes.transpose_b);
  const Matrices result(call.outputs[0].shape(), false);
  const std::vector<T> a = load<T>(call.inputs[0]), b = load<T>(call.inputs[1]);
  std::vector<T> y(static_cast<std::size_t>(call.outputs[0].elements()));
  // Which matrix of b belongs to each of the result's; the walk below gives that of a.
  std::vector<std::int64_t> matrix_of_b(static_cast<std::size_t>(result.batch.elements()));
  walk(result.batch, broadcast_strides(right.batch, result.batch),
       [&](std::int64_t i, std::int64_t matrix) { matrix_of_b[static_cast<std::size_t>(i)] = matrix; });
  walk(result.batch, broadcast_strides(left.batch, result.batch), [&](std::int64_t batch, std::int64_t matrix) {
    const T* from_a = a.data() + matrix * left.elements();
    const T* from_b = b.data() + matrix_of_b[static_cast<std::size_t>(batch)] * right.elements();
    T* to = y.data() + batch * result.elements();
    for (std::int64_t i = 0; i < result.rows; ++i) {
      for (std::int64_t k = 0; k < left.columns; ++k) {
        const T factor = from_a[i * left.row_stride + k * left.column_stride];
        for (std::int64_t j = 0; j < result.columns; ++j) {
          T& sum = to[i * result.columns + j];
          sum = add(sum, mul(factor, from_b[k * right.row_stride + j * right.column_stride]));
        }
      }
    }
  });
  store(call.outputs[0], y);
}

constexpr Row kRows[] = {
    {"matmul",
     [](const Call& call) {
       with_compute_type(call.inputs[0].dtype(), [&call](auto zero) { multiply<decltype(zero)>(call); });
     }},
};

}  // namespace

std::span<const Row> matmul_rows() { return kRows; }

}  // namespace ml::reference
