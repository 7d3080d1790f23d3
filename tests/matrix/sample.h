// What the matrix tries each op with. Every row of the graph needs an entry here: a row without one fails.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/op.h"
#include "tests/matrix/values.h"

namespace ml::test {

struct Input {
  Shape shape;
  Fill values = Fill::any;
  std::optional<DType> dtype;  // none: the dtype that is being tried
  std::int64_t limit = 1;      // of indices
  Ints constant;               // not empty: the values of a constant of `dtype`, known before the graph is bound
};

// One op with attributes and operands, tried with every dtype that its shape rule takes.
struct Sample {
  std::string label;
  std::vector<Input> inputs;
  std::function<AttributesPtr(DType)> attributes;  // none: NoAttributes
};

struct OpSamples {
  std::string_view op;
  std::vector<Sample> samples;
};

// Attributes of type T as `set` leaves them.
template <class T, class F>
std::function<AttributesPtr(DType)> with(F set) {
  auto attributes = std::make_shared<T>();
  set(*attributes);
  return [attributes](DType) { return attributes; };
}

// The extents that the matrix wants to see of every op where it makes sense.
inline const Shape kScalar{};
inline const Shape kEmpty{3, 0};
inline const Shape kOdd{3, 5, 7};
inline const Shape kLarge{257, 263};  // enough to be cut into parts

std::vector<OpSamples> elementwise_samples();
std::vector<OpSamples> movement_samples();
std::vector<OpSamples> reduce_samples();
std::vector<OpSamples> indexing_samples();
std::vector<OpSamples> contraction_samples();
std::vector<OpSamples> pooling_samples();
std::vector<OpSamples> dynamic_samples();
std::vector<OpSamples> network_samples();
std::vector<OpSamples> sequence_samples();
std::vector<OpSamples> quantize_samples();
std::vector<OpSamples> fused_samples();

// All of them, by op; null when there are none.
const OpSamples* samples_of(std::string_view op);

}  // namespace ml::test
