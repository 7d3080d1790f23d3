#include "daemon/job/network.h"

namespace ml::job {
namespace {

template <class F>
auto at(const std::string& place, F body) {
  try {
    return body();
  } catch (const Error& error) {
    throw error.within(place);
  }
}

}  // namespace

Network::Network(const JobFile& job) : nn::Sequential(std::vector<std::shared_ptr<nn::Module>>{}) {
  manual_seed(job.seed);
  for (std::size_t i = 0; i < job.layers.size(); ++i) {
    const Layer& layer = job.layers[i];
    places_.push_back(job.file + ":" + std::to_string(layer.line) + ", layer " + std::to_string(i + 1) + " (" +
                      layer.type + ")");
    append(at(places_.back(), layer.make));
  }
}

Tensor Network::forward(const Tensor& x) {
  Tensor value = x;
  for (std::size_t i = 0; i < size(); ++i) value = at(places_[i], [&] { return (*this)[i].forward(value); });
  return value;
}

Tensor Network::logits(const Tensor& x) {
  Tensor value = x;
  for (std::size_t i = 0; i + 1 < size(); ++i) value = at(places_[i], [&] { return (*this)[i].forward(value); });
  return at(places_.back(), [&] { return (*this)[size() - 1].logits(value); });
}

}  // namespace ml::job
