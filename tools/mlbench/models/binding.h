// What a loaded model's next shapes cost.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace ml::bench {

struct BindingCost {
  std::size_t nodes = 0;   // of the loaded graph, constants not counted
  double first_ms = 0;     // the first binding, which packs what all share
  double ms = 0;           // median of the others, each of shapes that are new
  std::size_t packed = 0;  // bytes that the first one packed
  std::size_t more = 0;    // bytes that all others packed: should be 0
  std::size_t arena = 0;   // of the last one
  std::size_t bound = 0;   // the largest live set of it: no arena can be smaller
};

// The models whose binding is measured: those of `mlbench cpu` with a sequence length of any size where there is one.
std::vector<std::string_view> bindable_models();
// Loads the model from ONNX as an application does and binds it `rounds` times to shapes that it hasn't seen.
BindingCost binding_cost(std::string_view model, int threads, int rounds);

struct DecodingCost {
  double growing_ms = 0, fixed_ms = 0;  // mean of a token
  double growing_bind_ms = 0;           // of it, for binding
  double apart = 0;                     // largest difference of the logits, of the largest of them
};
// GPT-2 one token at a time until its cache holds `tokens`: with a cache that grows, so that every shape is new, and
// with one of fixed capacity.
DecodingCost decoding_cost(int threads, int tokens);

}  // namespace ml::bench
