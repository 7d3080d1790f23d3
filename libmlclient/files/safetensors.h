// safetensors files (https://github.com/huggingface/safetensors): an 8-byte length, a JSON header, dense tensors.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "ml/nn.h"

namespace ml::files {

struct Safetensors {
  std::vector<nn::NamedTensor> tensors;
  std::map<std::string, std::string> metadata;
};

// Throws not_found, or corrupt naming the file and what is wrong; the file may come from anywhere.
Safetensors load_safetensors(const std::string& path);
// Atomically. Throws no_space or io.
void save_safetensors(const std::string& path, std::span<const nn::NamedTensor> tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace ml::files
