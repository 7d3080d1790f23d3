#include "engine/passes/polynomial.h"

#include <algorithm>
#include <cmath>

#include "engine/passes/patterns.h"

namespace ml::passes {
namespace {

constexpr int kDepth = 6;

std::optional<Polynomial> times(const Polynomial& a, const Polynomial& b) {
  Polynomial result{};
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t k = 0; k < b.size(); ++k) {
      if (a[i] == 0 || b[k] == 0) continue;
      if (i + k >= result.size()) return std::nullopt;
      result[i + k] += a[i] * b[k];
    }
  }
  return result;
}

std::optional<Polynomial> find(Var value, Var x, int depth) {
  if (value.id == x.id) return Polynomial{0, 1, 0, 0};
  if (const std::optional<double> number = splat_of(value)) return Polynomial{*number, 0, 0, 0};
  const Node* node = value.graph->producer(value.id);
  if (depth == 0 || node == nullptr || node->op->kind != OpKind::elementwise) return std::nullopt;
  const std::string_view op = node->op->name;
  if (op != "neg" && op != "add" && op != "sub" && op != "mul" && op != "div" && op != "pow") return std::nullopt;
  const std::optional<Polynomial> a = find(operand(value, *node, 0), x, depth - 1);
  if (!a) return std::nullopt;
  if (op == "neg") return times(*a, {-1, 0, 0, 0});
  const std::optional<Polynomial> b = find(operand(value, *node, 1), x, depth - 1);
  if (!b) return std::nullopt;
  if (op == "mul") return times(*a, *b);
  if (op == "add" || op == "sub") {
    Polynomial sum = *a;
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += op == "add" ? (*b)[i] : -(*b)[i];
    return sum;
  }
  if ((*b)[1] != 0 || (*b)[2] != 0 || (*b)[3] != 0) return std::nullopt;
  const double number = (*b)[0];
  if (op == "div") return number == 0 ? std::nullopt : times(*a, {1 / number, 0, 0, 0});
  if (number != 2 && number != 3) return std::nullopt;
  const std::optional<Polynomial> square = times(*a, *a);
  return square && number == 3 ? times(*square, *a) : square;
}

void collect(Var value, std::initializer_list<Var> whole, int depth, Product& product) {
  if (const std::optional<double> number = splat_of(value)) {
    product.scale *= *number;
    return;
  }
  const bool kept = std::ranges::any_of(whole, [value](Var x) { return x.id == value.id; });
  const Node* node = kept || depth == 0 ? nullptr : value.graph->producer(value.id);
  if (node != nullptr && node->op->name == "neg") {
    product.scale = -product.scale;
    return collect(operand(value, *node, 0), whole, depth - 1, product);
  }
  if (node != nullptr && node->op->name == "mul") {
    collect(operand(value, *node, 0), whole, depth - 1, product);
    return collect(operand(value, *node, 1), whole, depth - 1, product);
  }
  if (node != nullptr && node->op->name == "div") {
    if (const std::optional<double> number = splat_of(operand(value, *node, 1))) {
      product.scale /= *number;
      return collect(operand(value, *node, 0), whole, depth - 1, product);
    }
  }
  product.factors.push_back(value);
}

}  // namespace

std::optional<Polynomial> polynomial_of(Var value, Var x) { return find(value, x, kDepth); }

bool same_polynomial(const Polynomial& a, const Polynomial& b, DType dtype) {
  const double rounding = dtype == DType::f16 ? 0x1p-10 : dtype == DType::bf16 ? 0x1p-7 : 1e-6;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!(std::abs(a[i] - b[i]) <= rounding * std::abs(b[i]))) return false;
  }
  return true;
}

Product product_of(Var value, std::initializer_list<Var> whole) {
  Product product;
  collect(value, whole, kDepth, product);
  return product;
}

}  // namespace ml::passes
