// Tensors from files named on the command line: "image=t10k-images-idx3-ubyte[0:8]".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ml/model.h"

namespace ml::ctl {

struct InputArgument {
  std::string name;  // empty: the only input
  std::string path;
  // Elements of the first axis, end excluded; without: all.
  std::optional<std::pair<std::int64_t, std::int64_t>> range;
};
// Throws Failure (usage).
InputArgument parse_input(const std::string& text);

struct Scaling {
  double mean = 0, deviation = 1;
};

// Reads the file: a NumPy file as it is, an IDX file of u8 images [N, H, W] as f32 (pixel / 255 - mean) / deviation. An
// axis of extent 1 is put in where the model's input has one ([N, 1, H, W]). Throws Failure or ml::Error.
Tensor read_input(const InputArgument& argument, const ModelPort& port, Scaling scaling);

}  // namespace ml::ctl
