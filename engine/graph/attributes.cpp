#include "engine/graph/attributes.h"

#include <bit>
#include <cstring>
#include <typeinfo>
#include <variant>

#include "engine/graph/graph.h"
#include "engine/graph/hashing.h"

namespace ml {
namespace {

using Field = std::variant<bool, std::int64_t, double, DType, Shape, Ints, GraphPtr, ConstantPtr>;

// Takes a snapshot of every field in declaration order.
class Snapshot final : public AttributeVisitor {
 public:
  std::vector<Field> fields;
  void field(const char*, bool& v) override { fields.emplace_back(v); }
  void field(const char*, std::int64_t& v) override { fields.emplace_back(v); }
  void field(const char*, double& v) override { fields.emplace_back(v); }
  void field(const char*, DType& v) override { fields.emplace_back(v); }
  void field(const char*, Shape& v) override { fields.emplace_back(v); }
  void field(const char*, Ints& v) override { fields.emplace_back(v); }
  void field(const char*, GraphPtr& v) override { fields.emplace_back(v); }
  void field(const char*, ConstantPtr& v) override { fields.emplace_back(v); }
};

class Hasher final : public AttributeVisitor {
 public:
  std::uint64_t value = 0;
  void field(const char*, bool& v) override { mix(v ? 1 : 0); }
  void field(const char*, std::int64_t& v) override { mix(static_cast<std::uint64_t>(v)); }
  void field(const char*, double& v) override { mix(std::bit_cast<std::uint64_t>(v)); }
  void field(const char*, DType& v) override { mix(static_cast<std::uint64_t>(v)); }
  void field(const char*, Shape& v) override { mix_all(v.dims()); }
  void field(const char*, Ints& v) override { mix_all(v); }
  void field(const char*, GraphPtr& v) override { mix(v ? hash(*v) : 0); }
  void field(const char*, ConstantPtr& v) override { mix(v ? hash(*v) : 0); }

 private:
  void mix(std::uint64_t x) { value = hash_combine(value, x); }
  void mix_all(std::span<const std::int64_t> xs) {
    mix(xs.size());
    for (const std::int64_t x : xs) mix(static_cast<std::uint64_t>(x));
  }
};

bool same(const Field& a, const Field& b) {
  if (a.index() != b.index()) return false;
  if (const auto* x = std::get_if<double>(&a)) {
    return std::bit_cast<std::uint64_t>(*x) == std::bit_cast<std::uint64_t>(std::get<double>(b));
  }
  if (const auto* x = std::get_if<GraphPtr>(&a)) {
    const auto& y = std::get<GraphPtr>(b);
    return *x == y || (*x && y && equal(**x, *y));
  }
  if (const auto* x = std::get_if<ConstantPtr>(&a)) {
    const auto& y = std::get<ConstantPtr>(b);
    return *x == y || (*x && y && equal(**x, *y));
  }
  return a == b;
}

}  // namespace

bool equal(const Attributes& a, const Attributes& b) {
  if (&a == &b) return true;
  if (typeid(a) != typeid(b)) return false;
  Snapshot left, right;
  inspect(a, left);
  inspect(b, right);
  for (std::size_t i = 0; i < left.fields.size(); ++i) {
    if (!same(left.fields[i], right.fields[i])) return false;
  }
  return true;
}

std::uint64_t hash(const Attributes& attributes) {
  Hasher hasher;
  inspect(attributes, hasher);
  return hasher.value;
}

}  // namespace ml
