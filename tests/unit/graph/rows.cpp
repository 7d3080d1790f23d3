// What every row of the op table promises.
#include <gtest/gtest.h>

#include <set>

#include "engine/graph/graph.h"
#include "ml/error.h"

namespace ml {
namespace {

// Ops that every backend must have a kernel for are those without a decomposition; these kinds are run by the runtime
// or vanish when a graph is bound.
bool is_primitive_kind(OpKind kind) {
  return kind == OpKind::elementwise || kind == OpKind::reduction || kind == OpKind::movement ||
         kind == OpKind::indexed || kind == OpKind::contraction || kind == OpKind::random;
}

TEST(Rows, HaveUniqueNamesAndAreFoundByThem) {
  std::set<std::string_view> names;
  for (const Op* op : all_ops()) {
    EXPECT_TRUE(names.insert(op->name).second) << op->name << " stands twice";
    EXPECT_EQ(lookup_op(op->name), op);
    EXPECT_EQ(&find_op(op->name), op);
  }
  EXPECT_EQ(lookup_op("no such op"), nullptr);
  EXPECT_THROW(find_op("no such op"), Error);
}

TEST(Rows, HaveAGradientOrTheReasonWhyNot) {
  for (const Op* op : all_ops()) {
    EXPECT_NE(op->gradient.rule == nullptr, op->gradient.none == nullptr) << op->name;
    if (op->gradient.none != nullptr) {
      EXPECT_STRNE(op->gradient.none, "") << op->name;
    }
  }
}

TEST(Rows, FallApartWhenTheyAreComposite) {
  for (const Op* op : all_ops()) {
    if (op->kind == OpKind::composite) {
      EXPECT_NE(op->decompose, nullptr) << op->name;
    }
    if (op->kind == OpKind::elementwise || op->kind == OpKind::reduction) {
      EXPECT_EQ(op->decompose, nullptr) << op->name;
    }
    EXPECT_TRUE(op->decompose != nullptr || is_primitive_kind(op->kind) || op->kind == OpKind::control ||
                op->kind == OpKind::dynamic || op->kind == OpKind::constant)
        << op->name;
  }
}

TEST(Rows, RefuseTheWrongNumberOfInputs) {
  for (const Op* op : all_ops()) {
    ASSERT_LE(op->min_inputs, op->max_inputs) << op->name;
    const std::unique_ptr<Attributes> made = op->make_attributes ? op->make_attributes() : nullptr;
    const NoAttributes none;
    const Attributes& attributes = made ? *made : static_cast<const Attributes&>(none);
    const auto refuses = [&](std::size_t count) {
      const std::vector<TensorType> inputs(count, {DType::f32, {2, 2}});
      try {
        infer(*op, inputs, attributes);
      } catch (const Error& error) {
        return std::string_view(error.what()).starts_with(std::string(op->name) + ": takes ");
      }
      return false;
    };
    if (op->min_inputs > 0) {
      EXPECT_TRUE(refuses(op->min_inputs - 1u)) << op->name;
    }
    if (op->max_inputs != kVariadic) {
      EXPECT_TRUE(refuses(op->max_inputs + 1u)) << op->name;
    }
  }
}

// The fields of attributes are how they are printed, stored and compared: copies made through them are equal.
class Names final : public AttributeVisitor {
 public:
  std::set<std::string> seen;
  bool unique = true;
  void field(const char* name, bool&) override { note(name); }
  void field(const char* name, std::int64_t&) override { note(name); }
  void field(const char* name, double&) override { note(name); }
  void field(const char* name, DType&) override { note(name); }
  void field(const char* name, Shape&) override { note(name); }
  void field(const char* name, Ints&) override { note(name); }
  void field(const char* name, GraphPtr&) override { note(name); }
  void field(const char* name, ConstantPtr&) override { note(name); }

 private:
  void note(const char* name) { unique = seen.insert(name).second && unique; }
};

TEST(Rows, NameEachAttributeOnce) {
  for (const Op* op : all_ops()) {
    if (op->make_attributes == nullptr) continue;
    const std::unique_ptr<Attributes> made = op->make_attributes(), again = op->make_attributes();
    Names names;
    inspect(*made, names);
    EXPECT_TRUE(names.unique && !names.seen.empty()) << op->name;
    EXPECT_TRUE(equal(*made, *again)) << op->name;
    EXPECT_EQ(hash(*made), hash(*again)) << op->name;
  }
}

}  // namespace
}  // namespace ml
