// Attributes of the random rows, and the generator itself.
//
// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The state is a u64[2]: key and
// counter. Block b of an execution (b = 0, 1, ...) encrypts the 128-bit counter whose low 64 bits are counter + b
// (wrapping) and whose high 64 bits are 0, under that key; words go from low to high bits. Element i of random_bits is
// word i % 4 of block i / 4, and the new state is {key, counter + ceil(elements / 4)}. Everything else is made of those
// bits by its decomposition, so all backends agree on them.
#pragma once

#include <array>

#include "engine/graph/attributes.h"

namespace ml {

struct RandomBitsAttributes final : Attributes {
  Shape shape;
  void visit(AttributeVisitor& v) override { v.field("shape", shape); }
};

// random_uniform and random_normal.
struct RandomAttributes final : Attributes {
  DType dtype = DType::f32;
  Shape shape;
  void visit(AttributeVisitor& v) override {
    v.field("dtype", dtype);
    v.field("shape", shape);
  }
};

struct DropoutAttributes final : Attributes {
  double rate = 0.5;  // in [0, 1]: the share of elements that become zero
  void visit(AttributeVisitor& v) override { v.field("rate", rate); }
};

using PhiloxWords = std::array<std::uint32_t, 4>;

// Counter and key as the paper numbers their words.
constexpr PhiloxWords philox4x32_10(PhiloxWords counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// The four words of block `block` for the state {key, counter}.
constexpr PhiloxWords random_block(std::uint64_t key, std::uint64_t counter, std::uint64_t block) {
  const std::uint64_t at = counter + block;
  return philox4x32_10({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at >> 32), 0, 0},
                       {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
}

}  // namespace ml
