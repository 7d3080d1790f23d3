#include "libmlclient/tensor/promote.h"

#include <algorithm>
#include <utility>

namespace ml::client {
namespace {

DType signed_of_bits(unsigned bits) {
  return bits == 8 ? DType::i8 : bits == 16 ? DType::i16 : bits == 32 ? DType::i32 : DType::i64;
}

}  // namespace

DType promote(DType a, DType b, std::string_view op) {
  if (a == b) return a;
  if (is_narrow(a) || is_narrow(b)) {
    throw Error(Code::invalid_argument,
                std::string(op) + ": " + std::string(dtype_name(a)) + " and " + std::string(dtype_name(b)) +
                    " do not meet: a narrow dtype is only stored",
                {}, "convert one of them with to()");
  }
  const DTypeInfo* x = &dtype_info(a);
  const DTypeInfo* y = &dtype_info(b);
  const bool floating = x->kind == DTypeKind::floating || y->kind == DTypeKind::floating;
  const bool boolean = x->kind == DTypeKind::boolean || y->kind == DTypeKind::boolean;
  if (floating && x->kind == y->kind) {
    if (x->bits == y->bits) return DType::f32;  // f16 with bf16
    return x->bits > y->bits ? a : b;
  }
  if (floating || boolean) return x->kind > y->kind ? a : b;
  if (x->kind == y->kind) return x->bits > y->bits ? a : b;
  if (x->kind == DTypeKind::unsigned_integer) std::swap(x, y);  // x is the signed one
  if (y->bits < x->bits) return x->dtype;
  if (y->bits == 64) {
    throw Error(Code::invalid_argument,
                std::string(op) + ": no dtype holds both " + std::string(x->name) + " and " + std::string(y->name), {},
                "convert one of them with to()");
  }
  return signed_of_bits(y->bits * 2u);
}

DType promote(DType dtype, Scalar scalar) {
  const DTypeKind kind = dtype_info(dtype).kind;
  if (scalar.kind() == DTypeKind::floating) return kind == DTypeKind::floating ? dtype : DType::f32;
  if (scalar.kind() == DTypeKind::signed_integer && kind == DTypeKind::boolean) return DType::i64;
  return dtype;
}

DType to_floating(DType dtype) { return is_floating(dtype) ? dtype : DType::f32; }

}  // namespace ml::client
