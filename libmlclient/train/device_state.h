// Everything that a training step updates, in device memory at addresses that do not change: parameters, the
// optimizer's state, buffers, random state.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libmlclient/session/storage.h"
#include "libmlclient/tensor/call.h"
#include "ml/nn.h"
#include "ml/optim.h"

namespace ml::train {

class DeviceState {
 public:
  // One tensor of the state. `home` is where the rest of the program sees it.
  struct Entry {
    enum class Kind { parameter, optimizer, buffer, random };
    Kind kind;
    std::string name;  // "parameter.0.weight"
    TensorType type;
    Tensor* home;
    std::shared_ptr<client::Storage> storage;
    Tensor placeholder;  // stands for it while a step is traced
  };

  DeviceState(nn::Module& module, optim::Optimizer& optimizer, std::uint64_t seed);
  DeviceState(const DeviceState&) = delete;
  DeviceState& operator=(const DeviceState&) = delete;

  const std::vector<Entry>& entries() const { return entries_; }
  // Copies what somebody has put into a home since the last step (or ever) to the device. Throws device_lost when what
  // a home holds was lost with one.
  void upload();
  // Entry `i` is updated in place by the step that `pending` stands for: tensors taken from it before are gone, its
  // home gets a new one.
  void updated(std::size_t i, const std::shared_ptr<client::Pending>& pending);

  std::size_t parameters() const { return parameters_; }  // the first ones; then each one's optimizer state
  Tensor& random() { return random_; }

 private:
  void add(Entry::Kind kind, std::string name, Tensor& home);

  std::vector<Entry> entries_;
  std::size_t parameters_ = 0;
  std::vector<nn::Parameter> slots_;  // keeps the homes
  Tensor random_;                     // u64[2]: key, counter
};

}  // namespace ml::train
