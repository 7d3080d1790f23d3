#include "engine/graph/ops/quantize.h"

#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

auto quantized(DType dtype, std::int64_t axis = 0, std::int64_t block = 0, bool saturate = true) {
  return with<QuantizeAttributes>([=](QuantizeAttributes& a) {
    a.dtype = dtype;
    a.axis = axis;
    a.block = block;
    a.saturate = saturate;
  });
}
auto spread(std::int64_t axis = 0, std::int64_t block = 0) {
  return with<DequantizeAttributes>([=](DequantizeAttributes& a) {
    a.axis = axis;
    a.block = block;
  });
}

Input scale(const Shape& shape) { return {shape, Fill::positive}; }
Input of(DType dtype, const Shape& shape, Fill values = Fill::any) { return {shape, values, dtype}; }

}  // namespace

std::vector<OpSamples> quantize_samples() {
  using enum DType;
  return {
      {"quantize",
       {{"scalar", {{kScalar}, scale({})}, quantized(u8)},
        {"empty", {{kEmpty}, scale({3}), of(i8, {3})}, quantized(i8, 0)},
        {"one scale", {{kOdd}, scale({}), of(u8, {})}, quantized(u8)},
        {"along an axis", {{kOdd}, scale({5}), of(i8, {5}, Fill::few)}, quantized(i8, 1)},
        {"in blocks", {{kOdd}, scale({3, 3, 7}), of(i4, {3, 3, 7}, Fill::few)}, quantized(i4, 1, 2)},
        {"in one block", {{kOdd}, scale({3, 5, 1})}, quantized(u4, 2, 9)},
        {"16 bits", {{kOdd, Fill::special}, scale({}), of(u16, {})}, quantized(u16)},
        {"2 bits", {{kOdd}, scale({7})}, quantized(i2, 2)},
        {"special", {{{131}, Fill::special}, scale({131}), of(u2, {131}, Fill::few)}, quantized(u2, 0)},
        {"f8e4m3fn", {{{131}, Fill::special}, scale({})}, quantized(f8e4m3fn)},
        {"f8e5m2 that overflows", {{{131}, Fill::special}, scale({})}, quantized(f8e5m2, 0, 0, false)},
        {"f4e2m1 in blocks", {{{4, 64}}, scale({4, 2}), of(f4e2m1, {4, 2}, Fill::few)}, quantized(f4e2m1, 1, 32)},
        {"large", {{kLarge}, scale({263}), of(i8, {263})}, quantized(i8, 1)}}},
      {"dequantize",
       {{"scalar", {of(u8, {}), scale({})}, spread()},
        {"empty", {of(i8, kEmpty), scale({3}), of(i8, {3})}, spread(0)},
        {"one scale", {of(u8, kOdd), scale({}), of(u8, {})}, spread()},
        {"along an axis", {of(i8, kOdd), scale({5}), of(i8, {5})}, spread(1)},
        {"in blocks", {of(i4, kOdd), scale({3, 3, 7}), of(i4, {3, 3, 7})}, spread(1, 2)},
        {"i32", {of(i32, kOdd), scale({})}, spread()},
        {"16 bits", {of(i16, kOdd), scale({7}), of(i16, {7})}, spread(2)},
        {"2 bits", {of(u2, kOdd), scale({})}, spread()},
        {"f8e5m2", {of(f8e5m2, {131}, Fill::special), scale({131})}, spread(0)},
        {"f4e2m1 in blocks", {of(f4e2m1, {4, 64}, Fill::special), scale({4, 2})}, spread(1, 32)},
        {"large", {of(u8, kLarge), scale({257}), of(u8, {257})}, spread(0)}}},
  };
}

}  // namespace ml::test
