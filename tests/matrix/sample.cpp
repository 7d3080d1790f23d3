#include "tests/matrix/sample.h"

#include <map>

namespace ml::test {
namespace {

constexpr std::vector<OpSamples> (*kFamilies[])() = {
    elementwise_samples, movement_samples, reduce_samples,   indexing_samples, contraction_samples, pooling_samples,
    dynamic_samples,     network_samples,  sequence_samples, quantize_samples, fused_samples,
};

}  // namespace

const OpSamples* samples_of(std::string_view op) {
  static const std::map<std::string_view, OpSamples> all = [] {
    std::map<std::string_view, OpSamples> found;
    for (const auto family : kFamilies) {
      for (OpSamples& samples : family()) found.emplace(samples.op, std::move(samples));
    }
    return found;
  }();
  const auto at = all.find(op);
  return at == all.end() ? nullptr : &at->second;
}

}  // namespace ml::test
