// Constants that are moved while folding: the same bytes as the reference gives, without asking it.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "engine/graph/build.h"
#include "engine/graph/ops/movement.h"
#include "engine/passes/passes.h"
#include "engine/runtime/resources.h"

namespace ml::passes {
namespace {

Var random_constant(Graph& graph, std::mt19937_64& random, DType dtype, const Shape& shape) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(shape.elements()) * dtype_size(dtype));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % (dtype == DType::boolean ? 2 : 64));
  return constant(graph, make_constant(dtype, shape, bytes));
}

// One node that moves a random constant.
Graph random_movement(std::mt19937_64& random) {
  Graph graph;
  constexpr DType kDTypes[] = {DType::f32, DType::i64, DType::boolean, DType::bf16};
  const auto pick = [&random](std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  Shape shape;
  for (std::int64_t rank = pick(1, 4); rank > 0; --rank) shape.append(pick(1, 3));
  const Var x = random_constant(graph, random, kDTypes[pick(0, 3)], shape);
  Var y;
  switch (pick(0, 3)) {
    case 0: {
      Ints starts, ends, strides;
      for (const std::int64_t extent : shape) {
        starts.push_back(pick(-extent - 1, extent + 1));
        ends.push_back(pick(-extent - 1, extent + 1));
        strides.push_back(pick(1, 3));
      }
      y = slice(x, starts, ends, strides);
      break;
    }
    case 1: {
      Ints order(static_cast<std::size_t>(shape.rank()));
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random);
      y = transpose(x, order);
      break;
    }
    case 2: {
      Shape wide;
      for (std::int64_t more = pick(0, 2); more > 0; --more) wide.append(pick(1, 2));
      for (const std::int64_t extent : shape) wide.append(extent == 1 ? pick(1, 3) : extent);
      y = broadcast_to(x, wide);
      break;
    }
    default: {
      const std::int64_t axis = pick(0, shape.rank() - 1), extent = shape[static_cast<int>(axis)];
      std::vector<std::int64_t> indices(static_cast<std::size_t>(pick(0, 6)));
      for (std::int64_t& index : indices) index = pick(-extent, extent - 1);
      const Shape count{static_cast<std::int64_t>(indices.size())};
      y = gather(x, constant(graph, make_constant(DType::i64, count, std::as_bytes(std::span(indices)))), axis);
    }
  }
  output("y", y);
  return graph;
}

TEST(FoldedMovement, IsWhatTheReferenceComputes) {
  const Evaluate reference = runtime::reference_evaluate();
  const Evaluate nobody = [](const Graph&, const Node& node, std::span<const ConstantPtr>) -> std::vector<ConstantPtr> {
    ADD_FAILURE() << node.op->name << " was asked for";
    return {};
  };
  for (std::uint64_t seed = 1; seed <= 400 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const Graph graph = random_movement(random);
    const Graph folded = fold(graph, nobody);
    const ConstantData* const got = folded.constant(folded.outputs()[0].value);
    ASSERT_NE(got, nullptr);
    const Node* const node = graph.producer(graph.outputs()[0].value);
    if (node->op->kind == OpKind::constant) continue;  // the builder saw that nothing moves
    std::vector<ConstantPtr> operands;
    for (const ValueId id : node->inputs) operands.push_back(graph.producer(id)->as<ConstantAttributes>().value);
    const ConstantPtr wanted = reference(graph, *node, operands).at(0);
    EXPECT_EQ(got->dtype, wanted->dtype);
    EXPECT_EQ(got->shape, wanted->shape);
    EXPECT_TRUE(std::ranges::equal(got->bytes(), wanted->bytes()));
  }
}

TEST(FoldedMovement, LeavesAnIndexOutOfRangeToTheExecution) {
  Graph graph;
  std::mt19937_64 random(1);
  const std::int64_t index = 3;
  output("y", gather(random_constant(graph, random, DType::f32, {3, 2}),
                     constant(graph, make_constant(DType::i64, {1}, std::as_bytes(std::span(&index, 1)))), 0));
  const Graph folded = fold(graph, runtime::reference_evaluate());
  EXPECT_EQ(folded.constant(folded.outputs()[0].value), nullptr);
}

// What is read doesn't count: a mask for the longest sequence is cut to the length that is bound.
TEST(FoldedMovement, CutsTablesThatAreLargerThanWhatIsComputed) {
  Graph graph;
  std::mt19937_64 random(1);
  const Var table = random_constant(graph, random, DType::boolean, {1, 1, 6000, 6000});
  output("y", slice(table, {0, 0, 0, 0}, {1, 1, 7, 7}));
  const Graph folded = fold(graph, runtime::reference_evaluate());
  EXPECT_NE(folded.constant(folded.outputs()[0].value), nullptr);
}

}  // namespace
}  // namespace ml::passes
