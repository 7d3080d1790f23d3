// Narrow dtypes: every value there is, what lies between two of them, and how files pack them.
#include "engine/graph/narrow.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "engine/graph/autodiff.h"
#include "engine/graph/build.h"
#include "engine/graph/scalar.h"
#include "ml/error.h"

namespace ml::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr DType kFloats[] = {DType::f8e4m3fn,   DType::f8e4m3fnuz, DType::f8e5m2,
                             DType::f8e5m2fnuz, DType::f8e8m0,     DType::f4e2m1};
constexpr DType kIntegers[] = {DType::i4, DType::u4, DType::i2, DType::u2};

// All finite values that are not negative, and their bits.
std::map<float, std::uint8_t> values_of(DType dtype) {
  std::map<float, std::uint8_t> values;
  for (unsigned bits = 0; bits < 1u << dtype_info(dtype).bits; ++bits) {
    const float value = narrow_to_f32(dtype, static_cast<std::uint8_t>(bits));
    if (std::isfinite(value) && !std::signbit(value)) values.emplace(value, static_cast<std::uint8_t>(bits));
  }
  return values;
}

TEST(Narrow, FloatsHoldWhatTheirFormatsSay) {
  const struct {
    DType dtype;
    std::size_t values;  // zero and positive
    float least, most;
  } formats[] = {{DType::f8e4m3fn, 127, 0x1p-9F, 448},      {DType::f8e4m3fnuz, 128, 0x1p-10F, 240},
                 {DType::f8e5m2, 124, 0x1p-16F, 57344},     {DType::f8e5m2fnuz, 128, 0x1p-17F, 57344},
                 {DType::f8e8m0, 255, 0x1p-126F, 0x1p127F}, {DType::f4e2m1, 8, 0.5F, 6}};
  for (const auto& format : formats) {
    SCOPED_TRACE(dtype_name(format.dtype));
    const auto values = values_of(format.dtype);
    EXPECT_EQ(values.size(), format.values);
    EXPECT_EQ(values.begin()->first, format.dtype == DType::f8e8m0 ? 0x1p-127F : 0.0F);
    EXPECT_EQ(std::next(values.begin())->first, format.least);
    EXPECT_EQ(values.rbegin()->first, format.most);
    EXPECT_EQ(narrow::largest(format.dtype), format.most);
  }
}

TEST(Narrow, EveryFloatComesBack) {
  for (const DType dtype : kFloats) {
    for (unsigned bits = 0; bits < 1u << dtype_info(dtype).bits; ++bits) {
      const float value = narrow_to_f32(dtype, static_cast<std::uint8_t>(bits));
      const std::uint8_t back = f32_to_narrow(dtype, value);
      if (std::isnan(value))
        EXPECT_TRUE(std::isnan(narrow_to_f32(dtype, back))) << dtype_name(dtype) << " " << bits;
      else
        EXPECT_EQ(back, bits) << dtype_name(dtype);
    }
  }
}

TEST(Narrow, FloatsRoundToNearestEven) {
  for (const DType dtype : kFloats) {
    SCOPED_TRACE(dtype_name(dtype));
    const auto values = values_of(dtype);
    for (auto low = values.begin(), high = std::next(low); high != values.end(); ++low, ++high) {
      const float middle = low->first / 2 + high->first / 2;
      const bool up = dtype == DType::f8e8m0 || (high->second & 1) == 0;  // f8e8m0 has nothing but exponents: ties up
      EXPECT_EQ(f32_to_narrow(dtype, middle), up ? high->second : low->second) << middle;
      EXPECT_EQ(f32_to_narrow(dtype, std::nextafter(middle, 0.0F)), low->second) << middle;
      EXPECT_EQ(f32_to_narrow(dtype, std::nextafter(middle, kInfinity)), high->second) << middle;
      if (dtype == DType::f8e8m0) continue;
      EXPECT_EQ(narrow_to_f32(dtype, f32_to_narrow(dtype, -middle)), up ? -high->first : -low->first) << middle;
    }
  }
}

TEST(Narrow, WhatIsTooLargeBecomesInfinityOrNanOrTheLargest) {
  const struct {
    DType dtype;
    float fits, over, becomes;
  } ends[] = {{DType::f8e4m3fn, 464, 0x1.d00002p8F, kNan},        {DType::f8e4m3fnuz, 0x1.effffep7F, 248, kNan},
              {DType::f8e5m2, 61439, 61440, kInfinity},           {DType::f8e5m2fnuz, 61439, 61440, kNan},
              {DType::f8e8m0, 0x1.7ffffep127F, 0x1.8p127F, kNan}, {DType::f4e2m1, 6.9F, 1e30F, 6}};
  for (const auto& end : ends) {
    SCOPED_TRACE(dtype_name(end.dtype));
    const auto through = [&](float value) { return narrow_to_f32(end.dtype, f32_to_narrow(end.dtype, value)); };
    const float largest = values_of(end.dtype).rbegin()->first;
    EXPECT_EQ(through(end.fits), largest);
    for (const float over : {end.over, kInfinity}) {
      EXPECT_TRUE(std::isnan(end.becomes) ? std::isnan(through(over)) : through(over) == end.becomes) << over;
      if (end.dtype == DType::f8e8m0) continue;
      EXPECT_TRUE(std::isnan(end.becomes) ? std::isnan(through(-over)) : through(-over) == -end.becomes) << over;
    }
    EXPECT_TRUE(end.dtype == DType::f4e2m1 ? through(kNan) == 0 : std::isnan(through(kNan)));
  }
}

TEST(Narrow, FormatsWithoutNegativeZeroGetZero) {
  for (const DType dtype : kFloats) {
    if (dtype == DType::f8e8m0) continue;
    const bool fnuz = dtype == DType::f8e4m3fnuz || dtype == DType::f8e5m2fnuz;
    for (const float value : {-0.0F, -1e-30F})
      EXPECT_EQ(std::signbit(narrow_to_f32(dtype, f32_to_narrow(dtype, value))), !fnuz) << dtype_name(dtype);
  }
}

TEST(Narrow, E8M0HasNeitherZeroNorSign) {
  for (const float value : {0.0F, -0.0F, -1.0F, 0x1p-128F, kInfinity, -kInfinity})
    EXPECT_EQ(f32_to_narrow(DType::f8e8m0, value), 0xff) << value;
  EXPECT_EQ(f32_to_narrow(DType::f8e8m0, 0x1p-127F), 0);
}

TEST(Narrow, IntegersSaturateFloatsAndWrapIntegers) {
  for (const DType dtype : kIntegers) {
    SCOPED_TRACE(dtype_name(dtype));
    const std::int64_t count = std::int64_t{1} << dtype_info(dtype).bits;
    const std::int64_t low = is_signed(dtype) ? -count / 2 : 0;
    std::byte element{};
    for (std::int64_t value = -20; value <= 20; ++value) {
      store_int(dtype, &element, value);
      EXPECT_EQ(load_int(dtype, &element), ((value - low) % count + count) % count + low);
      store_double(dtype, &element, static_cast<double>(value) + (value < 0 ? -0.75 : 0.75));
      EXPECT_EQ(load_double(dtype, &element), static_cast<double>(std::clamp(value, low, low + count - 1)));
    }
    store_double(dtype, &element, std::nan(""));
    EXPECT_EQ(load_int(dtype, &element), 0);
  }
}

TEST(Narrow, BitsAboveAnElementDoNotCount) {
  for (const DType dtype : {DType::i4, DType::u4, DType::i2, DType::u2, DType::f4e2m1}) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const auto at = static_cast<std::byte>(byte);
      const auto canonical = static_cast<std::byte>(narrow::canonical(dtype, static_cast<std::uint8_t>(byte)));
      EXPECT_EQ(load_double(dtype, &at), load_double(dtype, &canonical)) << dtype_name(dtype) << " " << byte;
      std::byte stored{};
      store_double(dtype, &stored, load_double(dtype, &at));
      EXPECT_EQ(stored, canonical) << dtype_name(dtype) << " " << byte;
    }
  }
}

TEST(Narrow, PacksFromTheLowBitsUp) {
  const auto bytes = [](std::initializer_list<int> values) {
    std::vector<std::byte> result;
    for (const int value : values) result.push_back(static_cast<std::byte>(value));
    return result;
  };
  EXPECT_EQ(narrow::pack(DType::i4, bytes({1, -2, 7})), bytes({0xe1, 0x07}));
  EXPECT_EQ(narrow::unpack(DType::i4, bytes({0xe1, 0xf7}), 3), bytes({1, -2, 7}));
  EXPECT_EQ(narrow::pack(DType::u2, bytes({1, 2, 3, 0, 3})), bytes({0x39, 0x03}));
  EXPECT_EQ(narrow::unpack(DType::i2, bytes({0x39, 0x03}), 5), bytes({1, -2, -1, 0, -1}));
  EXPECT_EQ(narrow::packed_size(DType::i4, 0), 0u);
  EXPECT_EQ(narrow::packed_size(DType::u2, 9), 3u);
  EXPECT_EQ(narrow::packed_size(DType::f8e5m2, 9), 9u);
}

TEST(Narrow, ArithmeticSaysToCastFirst) {
  Graph graph;
  const Var x = input(graph, "x", DType::f8e4m3fn, {2});
  try {
    add(x, x);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("add: wants a numeric dtype, got f8e4m3fn[2]"), std::string::npos);
    EXPECT_NE(error.hint().find("cast it first"), std::string::npos);
  }
}

TEST(Narrow, DerivativesEndAtANarrowDtype) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2});
  const Var loss = reduce_sum(cast(cast(x, DType::f8e5m2), DType::f32) * x);
  const std::vector<Var> gradient = gradients(loss, std::span(&x, 1));
  output("dx", gradient[0]);
  verify(graph);
  const Var narrow = cast(x, DType::f8e5m2);
  EXPECT_THROW(gradients(loss, std::span(&narrow, 1)), Error);
}

}  // namespace
}  // namespace ml::test
