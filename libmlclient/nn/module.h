// What stands behind ml::nn::Module.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ml/nn.h"

namespace ml::nn {

// A module's place for one tensor. It does not move, so references to the tensor stay valid.
struct Slot {
  std::string name;
  Tensor tensor;
  bool trained = true;
};

struct Module::State {
  std::vector<std::shared_ptr<Slot>> slots;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> modules;
  bool training = true;

  void collect_slots(bool trained, Parameter::Slots& into) const;
  void collect(const std::string& prefix, bool trained, const std::shared_ptr<const Parameter::Slots>& buffers,
               std::vector<Parameter>& into) const;
  std::vector<Parameter> all(bool trained) const;
};

// Replaces the tensors of `slots` by those of `state`, all or none; `what` begins the message of the error.
void load_tensors(std::span<const Parameter> slots, std::span<const NamedTensor> state, const std::string& what);

}  // namespace ml::nn
