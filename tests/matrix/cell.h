// One cell of the matrix: a sample of an op in one dtype, its random operands and what must come out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/matrix/run.h"
#include "tests/matrix/sample.h"
#include "tests/matrix/tolerance.h"

namespace ml::test {

struct Cell {
  const Op& op;
  AttributesPtr attributes;
  std::string name;                // "reduce_sum f32 'large rows'"
  std::vector<HostTensor> inputs;  // of the op; known constants are among them
  Graph graph;                     // the op alone; known constants are constants, the others inputs
  std::vector<HostTensor> feed;    // what the graph's inputs are
  bool large = false;              // too much to try every variation
  Result expected;                 // by the reference
  std::vector<Tolerance> tolerances;
  double largest = 0;          // L of the tolerances
  std::optional<Result> sums;  // and S

  std::vector<TensorType> input_types() const;
};

// None when the op's shape rule refuses the dtype.
std::optional<Cell> make_cell(const Op& op, const Sample& sample, DType dtype);

}  // namespace ml::test
