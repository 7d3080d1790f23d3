#include "engine/backends/cpu/matmul_shape.h"

#include <utility>

#include "engine/graph/ops/matmul.h"

namespace ml::cpu {
namespace {

MatrixStrides strides_of(const Operand& operand, bool transposed) {
  const std::vector<std::int64_t>& strides = operand.layout.strides;
  MatrixStrides result{strides[strides.size() - 2], strides[strides.size() - 1]};
  if (transposed) std::swap(result.row, result.column);
  return result;
}

// Where the operand's matrix for this place of the result's batch dimensions begins.
std::int64_t offset_of(const Operand& operand, const std::vector<std::int64_t>& place) {
  const Shape& shape = operand.type.shape;
  const int batch_rank = shape.rank() - 2;
  std::int64_t offset = 0;
  for (int d = 0; d < batch_rank; ++d) {
    const std::int64_t at = place[place.size() - static_cast<std::size_t>(batch_rank - d)];
    if (shape[d] != 1) offset += at * operand.layout.strides[static_cast<std::size_t>(d)];
  }
  return offset;
}

}  // namespace

MatmulShape::MatmulShape(const KernelRequest& request) {
  const auto& attributes = request.as<MatmulAttributes>();
  const Operand &left = request.inputs[0], &right = request.inputs[1], &result = request.outputs[0];
  const Shape& shape = result.type.shape;
  m = shape.at(-2);
  n = shape.at(-1);
  k = left.type.shape.at(attributes.transpose_a ? -2 : -1);
  a = strides_of(left, attributes.transpose_a);
  b = strides_of(right, attributes.transpose_b);
  c = strides_of(result, false);
  std::int64_t count = 1;
  for (int d = 0; d < shape.rank() - 2; ++d) count *= shape[d];
  std::vector<std::int64_t> place(static_cast<std::size_t>(shape.rank() - 2), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    batches.push_back({offset_of(left, place), offset_of(right, place), offset_of(result, place)});
    for (std::size_t d = place.size(); d-- > 0;) {
      if (++place[d] < shape[static_cast<int>(d)]) break;
      place[d] = 0;
    }
  }
  merge_batches();
}

// Batches that share the right operand and lie behind each other are rows of one matrix.
void MatmulShape::merge_batches() {
  const auto count = static_cast<std::int64_t>(batches.size());
  if (count < 2) return;
  for (std::int64_t i = 1; i < count; ++i) {
    const Batch& batch = batches[static_cast<std::size_t>(i)];
    const bool follows = batch.a == batches[0].a + i * m * a.row && batch.c == batches[0].c + i * m * c.row;
    if (!follows || batch.b != batches[0].b) return;
  }
  m *= count;
  batches.resize(1);
}

}  // namespace ml::cpu
