// Shape rules of quantization.
#include "engine/graph/build_nn.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {
namespace {

QuantizeAttributes to(DType dtype, std::int64_t axis = 0, std::int64_t block = 0) {
  QuantizeAttributes attributes;
  attributes.dtype = dtype;
  attributes.axis = axis;
  attributes.block = block;
  return attributes;
}
DequantizeAttributes along(std::int64_t axis, std::int64_t block = 0) {
  DequantizeAttributes attributes;
  attributes.axis = axis;
  attributes.block = block;
  return attributes;
}

const ShapeCase kQuantize[] = {
    {"quantize", [](Graph& g) { return quantize(in(g, "f32[2, ?]"), in(g, "f32[]"), in(g, "u8[]"), {}); }, "u8[2, ?]"},
    {"quantize along an axis",
     [](Graph& g) { return quantize(in(g, "f16[2, 3]"), in(g, "f16[3]"), in(g, "i4[3]"), to(DType::i4, 1)); },
     "i4[2, 3]"},
    {"quantize in blocks",
     [](Graph& g) { return quantize(in(g, "f32[2, 7]"), in(g, "f32[2, 3]"), {}, to(DType::f8e4m3fn, 1, 3)); },
     "f8e4m3fn[2, 7]"},
    {"quantize in too many blocks",
     [](Graph& g) { return quantize(in(g, "f32[2, 7]"), in(g, "f32[2, 4]"), {}, to(DType::i8, 1, 3)); },
     "! quantize: input 1, f32[2, 4], is not one number for 3 elements of f32[2, 7] along axis 1, which would be "
     "[2, 3]"},
    {"quantize in blocks of less than none",
     [](Graph& g) { return quantize(in(g, "f32[2]"), in(g, "f32[2]"), {}, to(DType::i8, 0, -1)); },
     "! quantize: a block cannot have -1 elements"},
    {"quantize along an axis that is not",
     [](Graph& g) { return quantize(in(g, "f32[2, 3]"), in(g, "f32[3]"), {}, to(DType::i8, 2)); },
     "! quantize: axis 2 is outside of f32[2, 3]"},
    {"quantize to other zero points",
     [](Graph& g) { return quantize(in(g, "f32[2]"), in(g, "f32[]"), in(g, "u8[]"), to(DType::i8)); },
     "! quantize: the zero point is u8[], the elements are i8"},
    {"quantize to zero points of another shape",
     [](Graph& g) { return quantize(in(g, "f32[2]"), in(g, "f32[]"), in(g, "i8[2]"), to(DType::i8)); },
     "! quantize: scale f32[] and zero point i8[2] have different shapes"},
    {"quantize to what holds it all",
     [](Graph& g) { return quantize(in(g, "f32[2]"), in(g, "f32[]"), {}, to(DType::i32)); },
     "! quantize: makes integers of at most 16 bits and narrow floats, not i32"},
    {"quantize by another dtype", [](Graph& g) { return quantize(in(g, "f32[2]"), in(g, "f16[]"), {}, {}); },
     "! quantize: operands have different dtypes: f32[2] and f16[]"},
    {"dequantize", [](Graph& g) { return dequantize(in(g, "u8[?, 3]"), in(g, "f32[]"), in(g, "u8[]")); }, "f32[?, 3]"},
    {"dequantize along an axis", [](Graph& g) { return dequantize(in(g, "i2[2, ?]"), in(g, "bf16[5]"), {}, along(1)); },
     "bf16[2, ?]"},
    {"dequantize in blocks",
     [](Graph& g) { return dequantize(in(g, "u4[64, 3]"), in(g, "f16[2, 3]"), in(g, "u4[2, 3]"), along(0, 32)); },
     "f16[64, 3]"},
    {"dequantize floats", [](Graph& g) { return dequantize(in(g, "f32[2]"), in(g, "f32[]"), {}); },
     "! dequantize: wants integers of at most 16 bits, i32 or a narrow float, got f32[2]"},
    {"dequantize by exponents", [](Graph& g) { return dequantize(in(g, "u8[2]"), in(g, "f8e8m0[]"), {}); },
     "! dequantize: wants a floating dtype, got f8e8m0[]"},
    {"convolution of i32",
     [](Graph& g) {
       return convolution(in(g, "i32[1, 2, 5]"), in(g, "i32[3, 2, 2]"), in(g, "i32[3]"), Windows::unit(1));
     },
     "i32[1, 3, 4]"},
    {"convolution of i8",
     [](Graph& g) { return convolution(in(g, "i8[1, 2, 5]"), in(g, "i8[3, 2, 2]"), {}, Windows::unit(1)); },
     "! convolution: wants a floating dtype or i32, got i8[1, 2, 5]"},
};

}  // namespace

std::span<const ShapeCase> quantize_cases() { return kQuantize; }

}  // namespace ml::test
