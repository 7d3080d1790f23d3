// The models that `mlbench cpu` measures: the architectures of their papers with random weights, written node by node
// as PyTorch's and TensorFlow's exporters write them (a batch norm behind its convolution, attention as products and a
// softmax, GELU by erf), so that what makes them fast has to be found after the import.
//
// Weights come from a seed and are scaled by fan-in, so that activations neither vanish nor overflow. The batch is
// symbolic.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/graph.h"

namespace ml::bench {

// What an input is filled with: integers and floating numbers of [low, high), uniformly.
struct InputRange {
  std::string prefix;                                           // of the inputs' names; the first row that fits holds
  double low = -1.7320508075688772, high = 1.7320508075688772;  // mean 0, variance 1
};

struct Model {
  std::string_view name;
  std::string_view summary;
  std::function<Graph()> build;
  std::vector<InputRange> inputs = {};  // others are as InputRange is by default
};

// All there are, smallest first.
std::span<const Model> models();
// Throws not_found listing all.
const Model& find_model(std::string_view name);

Graph build_tiny();
Graph build_resnet50();
Graph build_mobilenet_v2();
Graph build_efficientnet_b0();
Graph build_yolo_v5s();
// Extents may be kUnknown, which makes them symbols: "tokens", "past".
Graph build_bert_base(std::int64_t tokens);
Graph build_lstm();
// `past` 0: a prompt, without inputs for the cache. `fixed`: `past` is the capacity of a cache that is donated; "place"
// is where the token goes, "lengths" how many there are with it.
Graph build_gpt2(std::int64_t past, std::int64_t tokens, bool fixed = false);

}  // namespace ml::bench
