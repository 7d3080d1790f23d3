// Casts, and reading bits as other numbers. What ONNX leaves open (a float that does not fit an integer) is what the
// graph's cast does.
#include "engine/formats/onnx/casts.h"
#include "engine/graph/narrow.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// The next power of two up or down, by the bits of an f64, where all that f32 holds has a leading one.
Var power_of_two(Node n, Var x, bool up) {
  Var bits = bit_cast(x, DType::i64);
  if (up) bits = bits + 0x1.fffffffffffffp51;  // anything below the exponent carries into it
  const Var power = bit_cast(bit_and(bits, scalar(n.graph, DType::i64, -0x1p52)), DType::f64);
  return select(is_nan(x), x, power);
}

// The graph rounds to nearest and makes NaN of what is out of range.
Var to_exponent(Node n, Var x, const CastRules& rules) {
  Var wide = cast(x, DType::f64);
  if (rules.rounding == "up" || rules.rounding == "down")
    wide = power_of_two(n, wide, rules.rounding == "up");
  else if (rules.rounding != "nearest")
    n.invalid("round_mode '" + rules.rounding + "' is neither up, down nor nearest");
  if (rules.saturate) wide = clamp(wide, 0x1p-127, 0x1p127);
  return cast(wide, DType::f8e8m0);
}

bool is_float8(DType dtype) { return dtype >= DType::f8e4m3fn && dtype <= DType::f8e5m2fnuz; }

Results cast_to(Node n) {
  if (!n.has_attribute("to")) n.invalid("attribute 'to' is missing");
  return {cast_as(n, n.in(0), n.dtype("to", DType::f32), cast_rules(n))};
}
Results cast_like(Node n) { return {cast_as(n, n.in(0), n.in(1).dtype(), cast_rules(n))}; }

// The bits as they are, but for booleans, of which there are only two.
Results bit_cast_operator(Node n) {
  if (!n.has_attribute("to")) n.invalid("attribute 'to' is missing");
  const Var x = n.in(0);
  const DType to = n.dtype("to", x.dtype());
  if (to != DType::boolean || x.dtype() == to) return {bit_cast(x, to)};
  return {ne(bit_cast(x, DType::u8), 0.0)};
}

constexpr Operator kOperators[] = {
    {"BitCast", 26, kAny, bit_cast_operator},
    {"Cast", 6, kAny, cast_to},
    {"CastLike", 15, kAny, cast_like},
};

}  // namespace

CastRules cast_rules(Node n) { return {n.integer("saturate", 1) != 0, n.text("round_mode", "up")}; }

Var cast_as(Node n, Var x, DType to, const CastRules& rules) {
  if (x.dtype() == to) return x;
  if (to == DType::f8e8m0) return to_exponent(n, x, rules);
  if (is_float8(to)) {
    const Var wide = is_differentiable(x.dtype()) ? x : cast(x, DType::f32);
    const double largest = static_cast<double>(narrow::largest(to));
    return cast(rules.saturate ? clamp(wide, -largest, largest) : wide, to);
  }
  // The low bits of the integer.
  if (is_narrow(to) && is_integer(to) && is_floating(x.dtype())) return cast(cast(x, DType::i32), to);
  return cast(x, to);
}

std::span<const Operator> cast_operators() { return kOperators; }

}  // namespace ml::onnx
