// A matmul request as matrices: extents, strides in elements after the transposes, and where each batch begins.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/backends/backend.h"

namespace ml::cpu {

struct MatrixStrides {
  std::int64_t row = 0, column = 0;
};

struct MatmulShape {
  std::int64_t m = 0, n = 0, k = 0;
  MatrixStrides a, b, c;
  struct Batch {
    std::int64_t a, b, c;  // offsets in elements
  };
  std::vector<Batch> batches;

  explicit MatmulShape(const KernelRequest& request);

 private:
  void merge_batches();
};

}  // namespace ml::cpu
