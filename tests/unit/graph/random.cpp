// The generator against the known answers that come with Random123 (kat_vectors, philox4x32 10).
#include "engine/graph/ops/random.h"

#include <gtest/gtest.h>

namespace ml {
namespace {

struct KnownAnswer {
  PhiloxWords counter;
  std::array<std::uint32_t, 2> key;
  PhiloxWords words;
};
constexpr KnownAnswer kKnownAnswers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

TEST(Philox, GivesTheKnownAnswers) {
  for (const KnownAnswer& known : kKnownAnswers) EXPECT_EQ(philox4x32_10(known.counter, known.key), known.words);
}

TEST(Philox, BlocksCountTheLow64BitsAndWrap) {
  EXPECT_EQ(random_block(0, 0, 0), kKnownAnswers[0].words);
  EXPECT_EQ(random_block(0, ~std::uint64_t{0}, 1), kKnownAnswers[0].words);
  EXPECT_EQ(random_block(0x299f31d0a4093822, 0x85a308d300000000, 0x243f6a88),
            philox4x32_10({0x243f6a88, 0x85a308d3, 0, 0}, {0xa4093822, 0x299f31d0}));
}

}  // namespace
}  // namespace ml
