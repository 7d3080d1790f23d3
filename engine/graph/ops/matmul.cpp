// Matrix products over broadcasting batch dimensions.
#include "engine/graph/ops/matmul.h"

#include "engine/graph/build.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

// Rows and columns of an operand as they enter the product.
struct Extents {
  std::int64_t rows, columns;
};
Extents extents(const Shape& shape, bool transposed) {
  const std::int64_t rows = shape[shape.rank() - 2], columns = shape[shape.rank() - 1];
  return transposed ? Extents{columns, rows} : Extents{rows, columns};
}

Shape batch_of(const Shape& shape) { return Shape(shape.dims().first(static_cast<std::size_t>(shape.rank()) - 2)); }

std::vector<TensorType> infer_matmul(const InferArguments& a) {
  const auto& attributes = a.as<MatmulAttributes>();
  rules::want_numeric(a, 0);
  rules::same_dtypes(a);
  for (std::size_t i = 0; i < 2; ++i) {
    rules::want(a, a.shape(i).rank() >= 2, i, "operands of at least two dimensions");
  }
  const Extents left = extents(a.shape(0), attributes.transpose_a);
  const Extents right = extents(a.shape(1), attributes.transpose_b);
  if (!rules::same_extent(left.columns, right.rows)) {
    const std::string first = a.shape(0).str() + (attributes.transpose_a ? " (transposed)" : "");
    const std::string second = a.shape(1).str() + (attributes.transpose_b ? " (transposed)" : "");
    rules::fail(a,
                "inner dimensions differ: " + first + " x " + second + " (" + std::to_string(left.columns) + " vs " +
                    std::to_string(right.rows) + ")",
                "transpose or reshape one operand");
  }
  Shape shape = broadcast_shapes(batch_of(a.shape(0)), batch_of(a.shape(1)), "matmul");
  shape.append(left.rows);
  shape.append(right.columns);
  return {{a.dtype(0), shape}};
}

// With C = op(A) op(B): d op(A) = dC op(B)^T and d op(B) = op(A)^T dC; a transposed operand swaps the factors.
std::vector<Var> gradient_matmul(Args r) {
  const auto [transpose_a, transpose_b] =
      std::pair(r.as<MatmulAttributes>().transpose_a, r.as<MatmulAttributes>().transpose_b);
  const Var a = r.inputs[0], b = r.inputs[1], dc = r.cotangents[0];
  const Var da = transpose_a ? matmul(b, dc, transpose_b, true) : matmul(dc, b, false, !transpose_b);
  // One weight for a batch of matrices: their rows are one long matrix, so that no product per batch is made and
  // summed.
  Var rows = a, drows = dc;
  if (b.rank() == 2 && a.rank() > 2 && !transpose_a) {
    rows = reshape(a, {a.shape().elements() == 0 ? 0 : kUnknown, a.shape().at(-1)});
    drows = reshape(dc, {rows.shape()[0], dc.shape().at(-1)});
  }
  const Var db = transpose_b ? matmul(drows, rows, true, transpose_a) : matmul(rows, drows, !transpose_a, false);
  return {da, db};
}

double matmul_flops(const InferArguments& a, std::span<const TensorType> outputs) {
  const Extents left = extents(a.shape(0), a.as<MatmulAttributes>().transpose_a);
  return 2.0 * static_cast<double>(outputs[0].shape.elements()) * static_cast<double>(left.columns);
}

const Op kOps[] = {
    {.name = "matmul",
     .kind = OpKind::contraction,
     .min_inputs = 2,
     .max_inputs = 2,
     .infer = infer_matmul,
     .gradient = gradient_by(gradient_matmul),
     .make_attributes = attributes_of<MatmulAttributes>,
     .flops = matmul_flops},
};

}  // namespace

std::span<const Op> matmul_ops() { return kOps; }

Var matmul(Var a, Var b, bool transpose_a, bool transpose_b) {
  // A vector is a row on the left and a column on the right, and its dimension of one is dropped from the result.
  const bool row = a.rank() == 1, column = b.rank() == 1;
  if (row) a = unsqueeze(a, {0});
  if (column) b = unsqueeze(b, {1});
  auto attributes = std::make_shared<MatmulAttributes>();
  attributes->transpose_a = transpose_a && !row;
  attributes->transpose_b = transpose_b && !column;
  Var product = emit("matmul", {a, b}, std::move(attributes));
  if (column) product = squeeze(product, {-1});
  if (row) product = squeeze(product, {column ? -1 : -2});
  return product;
}

}  // namespace ml
