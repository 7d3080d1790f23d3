// Matrix products of the dtypes and sizes that oneDNN does not take: f64, integers (wrapping), odd strides, no
// elements.
//
// Panels of the right operand are copied to stay in the second-level cache; the sum over k of one element runs in
// order, whatever the partition.
#include <type_traits>

#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/matmul_shape.h"
#include "engine/backends/cpu/partition.h"
#include "engine/backends/cpu/targets.h"
#include "engine/backends/cpu/widened.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backends/cpu/kernel_matmul.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ml::cpu::HWY_NAMESPACE {

constexpr std::int64_t kDepth = 64;     // rows of a panel
constexpr std::int64_t kColumns = 128;  // columns of a panel, and of the tile of results
constexpr std::int64_t kRows = 4;

// Unsigned integers wrap the way signed ones have to.
template <class T>
void multiply(const MatmulShape& shape, const T* a, const T* b, T* c, Range rows, Range columns) {
  // Narrow integers promote to int, whose product may overflow.
  using Product = std::conditional_t<(sizeof(T) < sizeof(unsigned)), unsigned, T>;
  alignas(64) T panel[kDepth * kColumns];
  alignas(64) T tile[kRows * kColumns];
  const std::int64_t width = columns.size();
  for (std::int64_t i0 = rows.begin; i0 < rows.end; i0 += kRows) {
    const std::int64_t height = std::min(kRows, rows.end - i0);
    for (std::int64_t i = 0; i < kRows * kColumns; ++i) tile[i] = T(0);
    for (std::int64_t k0 = 0; k0 < shape.k; k0 += kDepth) {
      const std::int64_t depth = std::min(kDepth, shape.k - k0);
      // A panel is copied again for the next rows only when it is not all of the depth.
      if (shape.k > kDepth || i0 == rows.begin) {
        for (std::int64_t k = 0; k < depth; ++k) {
          const T* const from = b + (k0 + k) * shape.b.row + columns.begin * shape.b.column;
          for (std::int64_t j = 0; j < width; ++j) panel[k * kColumns + j] = from[j * shape.b.column];
          for (std::int64_t j = width; j < kColumns; ++j) panel[k * kColumns + j] = T(0);
        }
      }
      for (std::int64_t i = 0; i < height; ++i) {
        const T* const left = a + (i0 + i) * shape.a.row + k0 * shape.a.column;
        T* const sums = tile + i * kColumns;
        for (std::int64_t k = 0; k < depth; ++k) {
          const Product factor = left[k * shape.a.column];
          const T* const line = panel + k * kColumns;
          ML_INDEPENDENT
          for (std::int64_t j = 0; j < kColumns; ++j) sums[j] = static_cast<T>(sums[j] + factor * line[j]);
        }
      }
    }
    for (std::int64_t i = 0; i < height; ++i) {
      T* const to = c + (i0 + i) * shape.c.row + columns.begin * shape.c.column;
      for (std::int64_t j = 0; j < width; ++j) to[j * shape.c.column] = tile[i * kColumns + j];
    }
  }
}

void multiply_any(const MatmulShape& shape, std::size_t width, bool floating, const void* a, const void* b, void* c,
                  Range rows, Range columns) {
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    multiply<T>(shape, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(c), rows, columns);
  };
  if (floating) {
    if (width == 8) return run(double{});
    return run(float{});
  }
  switch (width) {
    case 1: return run(std::uint8_t{});
    case 2: return run(std::uint16_t{});
    case 4: return run(std::uint32_t{});
    default: return run(std::uint64_t{});
  }
}

}  // namespace ml::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ml::cpu {
namespace {

HWY_EXPORT(multiply_any);

constexpr std::int64_t kColumnsPerPart = 128;
constexpr std::int64_t kRowsPerPart = 32;

const char* refuse(const KernelRequest& request) {
  const DType dtype = request.inputs[0].type.dtype;
  return dtype == DType::f16 || dtype == DType::bf16 ? refusal::kDType : nullptr;
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache&) {
  const DType dtype = request.inputs[0].type.dtype;
  const auto multiply = HWY_DYNAMIC_DISPATCH(multiply_any);
  return make_kernel([shape = MatmulShape(request), multiply, width = dtype_size(dtype), floating = is_floating(dtype)](
                         CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
    const auto width_in = static_cast<std::int64_t>(width);
    const std::int64_t across = (shape.n + kColumnsPerPart - 1) / kColumnsPerPart;
    const std::int64_t down = (shape.m + kRowsPerPart - 1) / kRowsPerPart;
    const auto batches = static_cast<std::int64_t>(shape.batches.size());
    stream.pool().parallel_for(batches * across * down, [&](std::int64_t part) {
      const MatmulShape::Batch& at = shape.batches[static_cast<std::size_t>(part / (across * down))];
      const std::int64_t row = part / across % down * kRowsPerPart, column = part % across * kColumnsPerPart;
      multiply(shape, width, floating, data_of(inputs[0]) + at.a * width_in, data_of(inputs[1]) + at.b * width_in,
               data_of(outputs[0]) + at.c * width_in, {row, std::min(row + kRowsPerPart, shape.m)},
               {column, std::min(column + kColumnsPerPart, shape.n)});
    });
  });
}

constexpr Implementation kTable[] = {
    {.op = "matmul", .kernel = "loop_matmul", .refuse = refuse, .compile = compile},
    {.op = "matmul", .kernel = "loop_matmul_widened", .refuse = widened_refusal<refuse>, .compile = widened<compile>},
};

}  // namespace

std::span<const Implementation> loop_matmul_implementations() { return kTable; }

}  // namespace ml::cpu
#endif  // HWY_ONCE
