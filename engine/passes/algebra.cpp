// Algebraic clean-up: what arithmetic does not need to be done, or can be done by something cheaper.
//
// Results keep their bits, but for powers and reciprocal roots, which may round once more or once less (a function of
// f32 may anyway). So what holds for numbers only is left alone: x + 0 where x is floating (-0 + 0 is 0), x * 0 and
// x - x (NaN), x / 3 (x * (1/3) rounds twice), pow(x, 0.5) (of -inf), and sums and products are not regrouped.
#include <cmath>
#include <optional>

#include "engine/passes/passes.h"
#include "engine/passes/patterns.h"
#include "engine/passes/walk.h"

namespace ml::passes {
namespace {

bool commutes(std::string_view op) {
  for (const std::string_view name : {"add", "mul", "maximum", "minimum", "eq", "ne", "bit_and", "bit_or", "bit_xor",
                                      "logical_and", "logical_or", "logical_xor"}) {
    if (op == name) return true;
  }
  return false;
}

// What a dtype can hold: integers in [-2^magnitude, 2^magnitude) (from 0 on when unsigned), or floats with so many
// bits of significand and such exponents.
struct Range {
  bool floating;
  bool negative;
  int magnitude;  // bits
  int exponent;   // floats: of the largest
};
std::optional<Range> range_of(DType dtype) {
  switch (dtype) {
    case DType::f64: return Range{true, true, 53, 1023};
    case DType::f32: return Range{true, true, 24, 127};
    case DType::f16: return Range{true, true, 11, 15};
    case DType::bf16: return Range{true, true, 8, 127};
    case DType::boolean: return Range{false, false, 1, 0};
    default: break;
  }
  if (!is_integer(dtype)) return std::nullopt;
  const DTypeInfo& info = dtype_info(dtype);
  const bool negative = info.kind == DTypeKind::signed_integer;
  return Range{false, negative, info.bits - (negative ? 1 : 0), 0};
}

// Whether every value of `from` is one of `to`.
bool holds(DType from, DType to) {
  const std::optional<Range> a = range_of(from), b = range_of(to);
  if (!a || !b || to == DType::boolean) return from == to;
  if (a->floating && !b->floating) return false;
  if (a->floating) return a->magnitude <= b->magnitude && a->exponent <= b->exponent;
  if (b->floating) return a->magnitude <= b->magnitude && a->magnitude <= b->exponent;
  return a->magnitude <= b->magnitude && (b->negative || !a->negative);
}

// Whether casting to `between` first changes nothing: it loses nothing, and does not make an integer, whose cast wraps
// around, a float, whose cast saturates.
bool skips(DType from, DType between, DType to) {
  if (!holds(from, between)) return false;
  return is_floating(from) == is_floating(between) || is_floating(to) || holds(from, to);
}

// 1 / value where that is exact, so that multiplying by it rounds as dividing does.
std::optional<double> exact_reciprocal(DType dtype, double value) {
  int exponent = 0;
  if (!is_floating(dtype) || std::abs(std::frexp(value, &exponent)) != 0.5) return std::nullopt;
  const std::optional<Range> range = range_of(dtype);
  // Neither may be subnormal.
  if (!range || std::abs(exponent - 1) >= range->exponent) return std::nullopt;
  return 1 / value;
}

class Algebra {
 public:
  std::vector<Var> operator()(const Visit& v) const {
    const Var result = rewrite(v);
    return result ? std::vector<Var>{result} : std::vector<Var>{};
  }

 private:
  static Var rewrite(const Visit& v) {
    if (v.node.op->kind != OpKind::elementwise && !v.is("relu")) return {};
    switch (v.inputs.size()) {
      case 1: return unary(v, v.inputs[0]);
      case 2: {
        const Var a = v.inputs[0], b = v.inputs[1];
        const bool swaps = commutes(v.node.op->name) && is_constant(a) && !is_constant(b);
        const Var result = swaps ? binary(v, b, a) : binary(v, a, b);
        return !result && swaps ? emit(v.node.op->name, {b, a}) : result;
      }
      default: return choice(v);
    }
  }

  static bool is_constant(Var x) { return x.graph->constant(x.id) != nullptr; }

  static Var unary(const Visit& v, Var x) {
    const auto inside = [x](std::string_view op) -> Var {
      const Node* node = made_by(x, op);
      return node != nullptr ? operand(x, *node, 0) : Var{};
    };
    if (v.is("logical_not")) {
      if (const Node* equal = made_by(x, "eq")) return ne(operand(x, *equal, 0), operand(x, *equal, 1));
      if (const Node* unequal = made_by(x, "ne")) return eq(operand(x, *unequal, 0), operand(x, *unequal, 1));
    }
    if (v.is("neg") || v.is("logical_not") || v.is("bit_not")) return inside(v.node.op->name);
    if (v.is("abs")) {
      if (const Var y = inside("neg")) return abs(y);
      return inside("abs") ? x : Var{};
    }
    if (v.is("relu")) return inside("relu") ? x : Var{};
    if (v.is("reciprocal")) {
      if (const Var y = inside("sqrt")) return rsqrt(y);
    }
    if (v.is("cast")) {
      const DType to = v.as<DTypeAttributes>().dtype;
      if (x.dtype() == to) return x;
      if (const Var y = inside("cast"); y && skips(y.dtype(), x.dtype(), to)) return cast(y, to);
    }
    return {};
  }

  static Var binary(const Visit& v, Var a, Var b) {
    const bool floating = is_floating(a.dtype());
    if (a.id == b.id && (v.is("maximum") || v.is("minimum") || v.is("bit_and") || v.is("bit_or"))) return a;
    if (v.is("add")) {
      if (const Node* n = made_by(b, "neg")) return a - operand(b, *n, 0);
    } else if (v.is("sub")) {
      if (const Node* n = made_by(b, "neg")) return a + operand(b, *n, 0);
    } else if (v.is("div") && floating && is_splat(a, 1)) {
      if (const Node* n = made_by(b, "sqrt")) return rsqrt(operand(b, *n, 0));
      return reciprocal(b);
    }
    const std::optional<double> number = splat_of(b);
    if (!number) return {};
    if (v.is("add")) return *number == 0 && (!floating || std::signbit(*number)) ? a : Var{};
    if (v.is("sub")) return *number == 0 && (!floating || !std::signbit(*number)) ? a : Var{};
    if (v.is("mul")) return *number == 1 ? a : Var{};
    if (v.is("div")) {
      if (*number == 1) return a;
      if (const std::optional<double> factor = exact_reciprocal(a.dtype(), *number)) return a * *factor;
    }
    return v.is("pow") ? power(a, *number) : Var{};
  }

  static Var power(Var x, double exponent) {
    if (exponent == 1) return x;
    if (exponent == 2) return x * x;
    if (exponent == 3) return x * x * x;
    if (exponent == -1) return reciprocal(x);
    return {};
  }

  static Var choice(const Visit& v) {
    if (!v.is("select")) return {};
    if (v.inputs[1].id == v.inputs[2].id) return v.inputs[1];
    const std::optional<double> condition = splat_of(v.inputs[0]);
    if (!condition) return {};
    return v.inputs[*condition != 0 ? 1 : 2];
  }
};

}  // namespace

Graph clean_algebra(const Graph& graph) { return walk(graph, Algebra{}); }

}  // namespace ml::passes
