#include "engine/graph/ops/movement.h"

#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

auto reshaped(Ints dims) {
  return with<ReshapeAttributes>([&](ReshapeAttributes& a) { a.dims = std::move(dims); });
}
auto broadcasted(const Shape& shape) {
  return with<BroadcastAttributes>([&](BroadcastAttributes& a) { a.shape = shape; });
}
auto ordered(Ints order) {
  return with<TransposeAttributes>([&](TransposeAttributes& a) { a.order = std::move(order); });
}
auto sliced(Ints starts, Ints ends, Ints strides) {
  return with<SliceAttributes>([&](SliceAttributes& a) {
    a.starts = std::move(starts);
    a.ends = std::move(ends);
    a.strides = std::move(strides);
  });
}
auto padded(Ints low, Ints high, Ints interior, double value) {
  return with<PadAttributes>([&](PadAttributes& a) {
    a.low = std::move(low);
    a.high = std::move(high);
    a.interior = std::move(interior);
    a.value = value;
  });
}
auto reversed(Ints axes) {
  return with<ReverseAttributes>([&](ReverseAttributes& a) { a.axes = std::move(axes); });
}
auto along(std::int64_t axis) {
  return with<AxisAttributes>([axis](AxisAttributes& a) { a.axis = axis; });
}
std::function<AttributesPtr(DType)> counted(const Shape& shape, std::int64_t axis) {
  return [=](DType dtype) {
    auto attributes = std::make_shared<IotaAttributes>();
    attributes->dtype = dtype;
    attributes->shape = shape;
    attributes->axis = axis;
    return attributes;
  };
}
// Another dtype of the same width: numbers become unsigned integers, and those floats.
AttributesPtr as_bits(DType dtype) {
  const bool plain = is_floating(dtype) || is_signed(dtype) || dtype == DType::boolean;
  auto attributes = std::make_shared<DTypeAttributes>();
  switch (dtype_info(dtype).bits) {
    case 2: attributes->dtype = plain ? DType::u2 : DType::i2; break;
    case 4: attributes->dtype = plain ? DType::u4 : DType::f4e2m1; break;
    case 8: attributes->dtype = plain ? DType::u8 : DType::i8; break;
    case 16: attributes->dtype = plain ? DType::u16 : DType::bf16; break;
    case 32: attributes->dtype = plain ? DType::u32 : DType::f32; break;
    default: attributes->dtype = plain ? DType::u64 : DType::f64; break;
  }
  return attributes;
}
// The value of a constant is among its attributes.
std::function<AttributesPtr(DType)> valued(const Shape& shape) {
  return [=](DType dtype) {
    std::mt19937_64 random = random_for("constant");
    const HostTensor value = random_tensor(dtype, shape, Fill::any, 1, random);
    auto attributes = std::make_shared<ConstantAttributes>();
    attributes->value = make_constant(dtype, shape, value.bytes);
    return attributes;
  };
}

}  // namespace

std::vector<OpSamples> movement_samples() {
  return {
      {"constant",
       {{"scalar", {}, valued(kScalar)},
        {"empty", {}, valued(kEmpty)},
        {"odd", {}, valued(kOdd)},
        {"large", {}, valued(kLarge)}}},
      {"reshape",
       {{"scalar to matrix", {{kScalar}}, reshaped({1, 1})},
        {"empty", {{kEmpty}}, reshaped({0, 5})},
        {"odd", {{kOdd}}, reshaped({7, 15})},
        {"inferred", {{kOdd}}, reshaped({5, -1})},
        {"kept", {{kOdd}}, reshaped({reshape_keeps(0), -1})},
        {"large", {{kLarge}}, reshaped({263, 257})}}},
      {"broadcast_to",
       {{"scalar", {{kScalar}}, broadcasted({2, 3})},
        {"to nothing", {{{3, 1}}}, broadcasted({3, 0})},
        {"odd", {{{3, 1, 7}}}, broadcasted({2, 3, 5, 7})},
        {"large", {{{263}}}, broadcasted(kLarge)},
        {"large columns", {{{257, 1}}}, broadcasted(kLarge)}}},
      {"transpose",
       {{"scalar", {{kScalar}}, ordered({})},
        {"empty", {{kEmpty}}, ordered({1, 0})},
        {"odd", {{kOdd}}, ordered({2, 0, 1})},
        {"channels last", {{{2, 3, 5, 7}}}, ordered({0, 2, 3, 1})},
        {"eight dimensions", {{{2, 1, 3, 1, 2, 3, 1, 2}}}, ordered({7, 1, 5, 3, 0, 2, 6, 4})},
        {"large", {{kLarge}}, ordered({1, 0})}}},
      {"slice",
       {{"scalar", {{kScalar}}, sliced({}, {}, {})},
        {"to nothing", {{kOdd}}, sliced({0, 3, 0}, {3, 3, 7}, {1, 1, 1})},
        {"of nothing", {{kEmpty}}, sliced({1, 0}, {3, 4}, {1, 2})},
        {"odd", {{kOdd}}, sliced({1, 0, 2}, {3, 5, 7}, {1, 2, 3})},
        {"from the end", {{kOdd}}, sliced({-2, 0, -9}, {kSliceToEnd, -1, 99}, {1, 1, 2})},
        {"large", {{kLarge}}, sliced({1, 2}, {257, 262}, {1, 1})}}},
      {"pad",
       {{"scalar", {{kScalar}}, padded({}, {}, {}, 1)},
        {"empty", {{kEmpty}}, padded({1, 2}, {0, 1}, {0, 3}, -2.5)},
        {"odd", {{kOdd}}, padded({1, 0, 2}, {0, 3, 1}, {0, 1, 2}, 3)},
        {"beyond the dtype", {{{5}}}, padded({1}, {1}, {0}, -1e300)},
        {"large", {{kLarge}}, padded({1, 3}, {2, 0}, {0, 0}, 0)}}},
      {"reverse",
       {{"scalar", {{kScalar}}, reversed({})},
        {"empty", {{kEmpty}}, reversed({0, 1})},
        {"odd", {{kOdd}}, reversed({0, 2})},
        {"large", {{kLarge}}, reversed({1})}}},
      {"concat",
       {{"one", {{kOdd}}, along(1)},
        {"empty", {{kEmpty}, {{3, 2}}, {kEmpty}}, along(1)},
        {"odd", {{{3, 1, 7}}, {{3, 4, 7}}, {{3, 2, 7}}}, along(1)},
        {"outermost", {{{1, 5}}, {{2, 5}}}, along(0)},
        {"innermost", {{{5, 1}}, {{5, 2}}}, along(1)},
        {"large", {{kLarge}, {kLarge}}, along(0)}}},
      {"bit_cast",
       {{"scalar", {{kScalar}}, as_bits},
        {"empty", {{kEmpty}}, as_bits},
        {"odd", {{kOdd, Fill::special}}, as_bits},
        {"large", {{kLarge}}, as_bits}}},
      {"iota",
       {{"empty", {}, counted(kEmpty, 0)},
        {"odd", {}, counted(kOdd, 1)},
        {"past the end of small dtypes", {}, counted({3, 300}, 1)},
        {"large", {}, counted(kLarge, 0)}}},
  };
}

}  // namespace ml::test
