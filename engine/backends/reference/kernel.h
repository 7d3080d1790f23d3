// The reference kernels: one function per primitive, slow and obviously right. Composites have none: they fall apart
// into primitives, so that what is tested is their decomposition.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "engine/backends/reference/tensor.h"

namespace ml::reference {

struct Call {
  const Attributes& attributes;
  std::span<const Tensor> inputs;
  std::span<const Tensor> outputs;
  bool& index_error;  // set when an index was out of range

  template <class T>
  const T& as() const {
    return static_cast<const T&>(attributes);
  }
};

struct Row {
  std::string_view op;
  void (*compute)(const Call& call);
};

// One file per family.
std::span<const Row> constant_rows();
std::span<const Row> elementwise_rows();
std::span<const Row> reduce_rows();
std::span<const Row> movement_rows();
std::span<const Row> indexing_rows();
std::span<const Row> matmul_rows();
std::span<const Row> convolution_rows();
std::span<const Row> random_rows();

// All of them. A row takes every request that the op's shape rule takes.
std::span<const Row> rows();

// A request ready to run on host memory, as often and from as many threads as one likes. What the reference device
// runs; other devices that keep their tensors in host memory may borrow it.
class Program {
 public:
  // The request's op must have a row.
  explicit Program(const KernelRequest& request);

  // The output may have the input's bytes: all inputs are read before any output is written.
  bool in_place(std::size_t input, std::size_t output) const;
  // One pointer per operand, null for unused outputs. Answers whether an index was out of range.
  bool run(std::span<std::byte* const> inputs, std::span<std::byte* const> outputs) const;

 private:
  const Row* row_;
  AttributesPtr attributes_;
  std::vector<Operand> inputs_, outputs_;
};

}  // namespace ml::reference
