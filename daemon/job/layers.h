// The layers that a job file can name: one row each in layers.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "daemon/config/toml_table.h"
#include "ml/nn.h"

namespace ml::job {

struct Layer {
  std::string type;
  std::uint32_t line = 0;  // of the job file
  std::function<std::shared_ptr<nn::Module>()> make;
};

// One [[layer]]; mistakes are reported and leave `make` empty.
Layer read_layer(const toml::table& table, std::size_t number, daemon::Mistakes& mistakes);

}  // namespace ml::job
