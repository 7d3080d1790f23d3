#include "engine/passes/patterns.h"

#include <cmath>

#include "engine/graph/scalar.h"

namespace ml::passes {
namespace {

// Larger constants are tensors, whatever they hold: looking through them would cost more than it gains.
constexpr std::uint64_t kSplatBytes = 1u << 16;

}  // namespace

std::optional<double> splat_of(const Graph& graph, ValueId value) {
  const Node* producer = graph.producer(value);
  while (producer != nullptr && (producer->op->name == "broadcast_to" || producer->op->name == "reshape")) {
    value = producer->inputs[0];
    producer = graph.producer(value);
  }
  const ConstantData* constant = graph.constant(value);
  double splat = 0;
  if (constant == nullptr || constant->length() > kSplatBytes || !splat_value(*constant, splat)) return std::nullopt;
  return splat;
}

bool is_splat(const Graph& graph, ValueId value, double wanted) {
  const std::optional<double> splat = splat_of(graph, value);
  if (!splat) return false;
  std::byte bytes[8] = {};
  const DType dtype = graph.type(value).dtype;
  store_double(dtype, bytes, wanted);
  return *splat == load_double(dtype, bytes);
}

}  // namespace ml::passes
