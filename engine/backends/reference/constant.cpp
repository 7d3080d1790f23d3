#include "engine/graph/constant.h"

#include <cstring>

#include "engine/backends/reference/kernel.h"

namespace ml::reference {
namespace {

void constant(const Call& call) {
  const ConstantData& value = *call.as<ConstantAttributes>().value;
  const std::size_t size = dtype_size(value.dtype);
  std::vector<std::uint64_t> bits(static_cast<std::size_t>(value.shape.elements()));
  for (std::size_t i = 0; i < bits.size(); ++i) std::memcpy(&bits[i], value.bytes().data() + i * size, size);
  store_bits(call.outputs[0], bits);
}

constexpr Row kRows[] = {{"constant", constant}};

}  // namespace

std::span<const Row> constant_rows() { return kRows; }

}  // namespace ml::reference
