// Where a model's time goes on the cpu device, and what work it is.
#pragma once

#include <span>
#include <string>

#include "engine/graph/graph.h"
#include "tools/mlbench/tensor_file.h"

namespace ml::bench {

// An ONNX file through the ordinary importer, bound to the shapes of `inputs`.
Graph bound_model(const std::string& path, std::span<const NamedArray> inputs);

struct Work {
  double flops = 0;
  double bytes = 0;  // that must be moved: every constant that is used (of tables that are indexed only what is taken),
                     // inputs and outputs, once each
  double weights = 0;  // bytes of those constants
};
Work work_of(const Graph& bound);

// Runs it for `seconds` and answers Markdown: times by kernel, and the steps that take longest.
std::string profile(const Graph& bound, std::span<const NamedArray> inputs, int threads, double seconds);

}  // namespace ml::bench
