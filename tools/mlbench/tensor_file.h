// Tensors that pass between mlbench's processes: lines of text, an empty one, and the elements of all, row-major, one
// after the other.
//
//   input_ids i64 1 128
//   attention_mask i64 1 128
//
//   ...
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "ml/dtype.h"
#include "ml/shape.h"

namespace ml::bench {

struct NamedArray {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<std::byte> bytes;
};

void write_tensors(const std::string& path, std::span<const NamedArray> tensors);
// Throws io or corrupt, naming the file.
std::vector<NamedArray> read_tensors(const std::string& path);

}  // namespace ml::bench
