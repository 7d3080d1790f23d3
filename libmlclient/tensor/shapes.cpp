// Operations that move elements, and the ones that find them by index.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "libmlclient/tensor/call.h"
#include "libmlclient/tensor/promote.h"
#include "ml/ops.h"

namespace ml {

using client::need;
using client::record_with;
using Vars = std::span<const Var>;

namespace {

Ints all_axes(int rank) {
  Ints axes(static_cast<std::size_t>(rank));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  const DType dtype = client::promote(need(a, "matmul")->type.dtype, need(b, "matmul")->type.dtype, "matmul");
  if (a.rank() == 0 || b.rank() == 0) {
    throw Error(Code::invalid_argument,
                "matmul: wants vectors or matrices, got " + a.shape().str() + " x " + b.shape().str(), {},
                "multiply by a scalar with *");
  }
  return record_with({a.to(dtype), b.to(dtype)}, [](Vars v) {
    const bool row = v[0].rank() == 1, column = v[1].rank() == 1;
    Var product = matmul(row ? unsqueeze(v[0], {0}) : v[0], column ? unsqueeze(v[1], {1}) : v[1]);
    if (column) product = squeeze(product, {-1});
    if (row) product = squeeze(product, {column ? -1 : -2});
    return product;
  });
}

Tensor reshape(const Tensor& x, const Shape& shape) {
  if (need(x, "reshape")->type.shape == shape && shape.known()) return x;
  return record_with({x}, [&](Vars v) { return reshape(v[0], shape); });
}

Tensor flatten(const Tensor& x, int first, int last) {
  const int rank = need(x, "flatten")->type.shape.rank();
  if (rank == 0) return reshape(x, {1});
  const int from = normalize_axis(first, rank, "flatten: axis"), to = normalize_axis(last, rank, "flatten: axis");
  if (from > to) {
    throw Error(Code::invalid_argument, "flatten: axis " + std::to_string(first) + " comes after axis " +
                                            std::to_string(last) + " of " + x.shape().str());
  }
  Shape shape;
  std::int64_t product = 1;
  for (int axis = 0; axis < rank; ++axis) {
    const std::int64_t extent = x.shape()[axis];
    if (axis < from || axis > to) {
      shape.append(extent);
      continue;
    }
    product = product == kUnknown || extent == kUnknown ? kUnknown : product * extent;
    if (axis == to) shape.append(product);
  }
  return reshape(x, shape);
}

Tensor permute(const Tensor& x, const Axes& order) {
  return record_with({x}, [&](Vars v) { return transpose(v[0], order); });
}

Tensor transpose(const Tensor& x, int axis0, int axis1) {
  const int rank = need(x, "transpose")->type.shape.rank();
  Ints order = all_axes(rank);
  std::swap(order[static_cast<std::size_t>(normalize_axis(axis0, rank, "transpose: axis"))],
            order[static_cast<std::size_t>(normalize_axis(axis1, rank, "transpose: axis"))]);
  return permute(x, order);
}

Tensor squeeze(const Tensor& x, int axis) {
  return record_with({x}, [&](Vars v) { return squeeze(v[0], {axis}); });
}
Tensor unsqueeze(const Tensor& x, int axis) {
  return record_with({x}, [&](Vars v) { return unsqueeze(v[0], {axis}); });
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  if (need(x, "broadcast_to")->type.shape == shape) return x;
  return record_with({x}, [&](Vars v) { return broadcast_to(v[0], shape); });
}

Tensor cat(std::span<const Tensor> parts, int axis) {
  if (parts.empty()) throw Error(Code::invalid_argument, "cat: wants at least one tensor");
  DType dtype = need(parts.front(), "cat")->type.dtype;
  for (const Tensor& part : parts) dtype = client::promote(dtype, need(part, "cat")->type.dtype, "cat");
  std::vector<Tensor> converted;
  for (const Tensor& part : parts) converted.push_back(part.to(dtype));
  return record_with(converted, [&](Vars v) { return concat(v, axis); });
}
Tensor cat(std::initializer_list<Tensor> parts, int axis) { return cat({parts.begin(), parts.size()}, axis); }

Tensor stack(std::span<const Tensor> parts, int axis) {
  std::vector<Tensor> widened;
  for (const Tensor& part : parts) {
    if (need(part, "stack")->type.shape != parts.front().shape()) {
      throw Error(Code::invalid_argument,
                  "stack: shapes differ: " + parts.front().shape().str() + " and " + part.shape().str());
    }
    widened.push_back(unsqueeze(part, axis));
  }
  return cat(widened, axis);
}
Tensor stack(std::initializer_list<Tensor> parts, int axis) { return stack({parts.begin(), parts.size()}, axis); }

Tensor slice(const Tensor& x, int axis, std::int64_t start, std::int64_t end, std::int64_t step) {
  const Shape& shape = need(x, "slice")->type.shape;
  const int at = normalize_axis(axis, shape.rank(), "slice: axis");
  if (step <= 0) {
    throw Error(Code::invalid_argument, "slice: the step is " + std::to_string(step), {},
                "steps are positive; flip() reverses");
  }
  Ints starts(static_cast<std::size_t>(shape.rank()), 0), ends(shape.dims().begin(), shape.dims().end());
  for (std::int64_t& extent : ends) {
    if (extent == kUnknown) extent = INT64_MAX;
  }
  Ints steps(starts.size(), 1);
  starts[static_cast<std::size_t>(at)] = start;
  ends[static_cast<std::size_t>(at)] = end;
  steps[static_cast<std::size_t>(at)] = step;
  return record_with({x}, [&](Vars v) { return slice(v[0], starts, ends, steps); });
}

Tensor pad(const Tensor& x, const Axes& low, const Axes& high, double value) {
  return record_with({x}, [&](Vars v) { return pad(v[0], low, high, value); });
}

Tensor flip(const Tensor& x, const Axes& axes) {
  return record_with({x}, [&](Vars v) { return reverse(v[0], axes); });
}

Tensor take(const Tensor& x, const Tensor& indices, int axis) {
  return record_with({x, indices}, [&](Vars v) { return gather(v[0], v[1], axis); });
}
Tensor gather(const Tensor& x, const Tensor& indices, int axis) {
  return record_with({x, indices}, [&](Vars v) { return gather_elements(v[0], v[1], axis); });
}
Tensor scatter_add(const Tensor& x, const Tensor& indices, const Tensor& updates, int axis) {
  return record_with({x, indices, updates}, [&](Vars v) { return scatter_elements_add(v[0], v[1], v[2], axis); });
}
Tensor embedding(const Tensor& weight, const Tensor& indices) { return take(weight, indices, 0); }

namespace {

template <class F>
std::pair<Tensor, Tensor> record_pair(const Tensor& x, F build) {
  std::vector<Tensor> both = client::record_built(
      {&x, 1},
      [](void* context, Graph&, Vars v) -> std::vector<Var> {
        const auto [values, indices] = (*static_cast<F*>(context))(v[0]);
        return {values, indices};
      },
      &build);
  return {std::move(both[0]), std::move(both[1])};
}

}  // namespace

std::pair<Tensor, Tensor> sort(const Tensor& x, int axis, bool descending) {
  return record_pair(x, [&](Var v) { return sort(v, axis, descending); });
}
std::pair<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, int axis, bool largest) {
  return record_pair(x, [&](Var v) { return top_k(v, k, axis, largest); });
}

Tensor arange(std::int64_t end, DType dtype) {
  const Shape shape{std::max<std::int64_t>(end, 0)};
  return record_with({}, [&](Graph& graph) { return iota(graph, dtype, shape, 0); });
}

Tensor arange(double start, double end, double step, DType dtype) {
  if (step == 0) throw Error(Code::invalid_argument, "arange: the step is 0");
  const double steps_taken = std::ceil((end - start) / step);
  if (!(std::abs(steps_taken) < 0x1p53)) {
    throw Error(Code::invalid_argument, "arange: from " + std::to_string(start) + " to " + std::to_string(end) +
                                            " by " + std::to_string(step) + " has no end");
  }
  const auto count = static_cast<std::int64_t>(std::max(0.0, steps_taken));
  const Tensor steps = arange(count, DType::f64) * step + start;
  return steps.to(dtype);
}

Tensor eye(std::int64_t n, DType dtype) {
  const Tensor index = arange(n);
  return (unsqueeze(index, 0) == unsqueeze(index, 1)).to(dtype);
}

}  // namespace ml
