#include "libmlclient/train/device_state.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "libmlclient/tensor/evaluate.h"

namespace ml::train {

DeviceState::DeviceState(nn::Module& module, optim::Optimizer& optimizer, std::uint64_t seed) {
  const std::vector<nn::Parameter> own = module.parameters();
  for (const nn::Parameter& parameter : optimizer.parameters()) {
    if (std::ranges::find(own, parameter.slot(), &nn::Parameter::slot) != own.end()) continue;
    throw Error(Code::invalid_argument,
                "Trainer: the optimizer's parameter '" + parameter.name() + "' " + parameter.value().shape().str() +
                    " is not one of the module's",
                {}, "make the optimizer of module.parameters()");
  }
  for (const nn::Parameter& parameter : optimizer.parameters())
    add(Entry::Kind::parameter, "parameter." + parameter.name(), parameter.value());
  parameters_ = entries_.size();
  const std::vector<std::string> names = optimizer.state_names();
  for (std::size_t i = 0; i < parameters_; ++i) {
    for (std::size_t k = 0; k < names.size(); ++k) {
      add(Entry::Kind::optimizer, "optimizer." + names[k] + "." + optimizer.parameters()[i].name(),
          optimizer.state()[i][k]);
    }
  }
  slots_ = module.buffers();
  for (const nn::Parameter& buffer : slots_) add(Entry::Kind::buffer, "buffer." + buffer.name(), buffer.value());
  const std::array<std::uint64_t, 2> words{seed, 0};
  random_ = from_data(std::span<const std::uint64_t>(words), {2});
  add(Entry::Kind::random, "random.state", random_);
}

void DeviceState::add(Entry::Kind kind, std::string name, Tensor& home) {
  const TensorType type{home.dtype(), home.shape()};
  entries_.push_back({kind, std::move(name), type, &home, nullptr, client::make_placeholder(type)});
}

void DeviceState::upload() {
  const auto session = client::SessionCore::current();
  const auto connection = session->connection();
  for (Entry& entry : entries_) {
    const client::TensorValuePtr value = client::need(*entry.home, entry.name);
    const bool is_here = entry.storage && entry.storage->connection() == connection;
    if (entry.storage && value->storage == entry.storage) {
      if (is_here) continue;
      throw Error(Code::device_lost, "training: '" + entry.name + "' was in the memory of a device that was lost", {},
                  "load_checkpoint() goes on from the last checkpoint");
    }
    if (value->type != entry.type) {
      throw Error(Code::invalid_argument, "training: '" + entry.name + "' became " +
                                              std::string(dtype_name(value->type.dtype)) + value->type.shape.str() +
                                              ", it was " + entry.type.shape.str());
    }
    client::materialize(value);
    std::shared_ptr<client::Storage> source = value->storage;
    const std::uint64_t bytes = static_cast<std::uint64_t>(entry.type.shape.elements()) * dtype_size(entry.type.dtype);
    if (!source) {  // a scalar
      source = client::Storage::in_arena(session, bytes);
      std::memcpy(source->host(), value->scalar.data(), bytes);
    }
    if (!is_here) entry.storage = client::Storage::on_device(session, connection, bytes);
    if (const auto before = entry.storage->pending()) before->wait();  // even if it fails: this replaces it
    session->copy(entry.storage, source);
    entry.storage->set_pending(nullptr);
    entry.storage->updated_in_place();
    *entry.home = client::make_stored(entry.type, entry.storage);
  }
}

void DeviceState::updated(std::size_t i, const std::shared_ptr<client::Pending>& pending) {
  Entry& entry = entries_[i];
  entry.storage->set_pending(pending);
  entry.storage->updated_in_place();
  *entry.home = client::make_stored(entry.type, entry.storage);
}

}  // namespace ml::train
