// Loop programs: what they are compiled to, and what the interpreter makes of them against a walk point by point.
#include "engine/codegen/loop_program.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/backends/backend.h"
#include "engine/backends/cpu/loop_interpreter.h"
#include "engine/graph/build.h"

namespace ml {
namespace {

using codegen::LoopOp;
using codegen::LoopProgram;
using codegen::Strides;

LoopProgram compile(const Graph& body, std::vector<Strides> inputs = {}, std::vector<Strides> outputs = {}) {
  if (inputs.empty()) {
    for (const GraphInput& x : body.inputs()) inputs.push_back(row_major(body.type(x.value).shape).strides);
  }
  if (outputs.empty()) {
    for (const GraphOutput& y : body.outputs()) outputs.push_back(row_major(body.type(y.value).shape).strides);
  }
  std::string why;
  const auto program = codegen::compile_loop(body, inputs, outputs, why);
  EXPECT_TRUE(program.has_value()) << why;
  return *program;
}

std::string refusal_of(const Graph& body) {
  std::vector<Strides> inputs, outputs;
  for (const GraphInput& x : body.inputs()) inputs.push_back(row_major(body.type(x.value).shape).strides);
  for (const GraphOutput& y : body.outputs()) outputs.push_back(row_major(body.type(y.value).shape).strides);
  std::string why;
  EXPECT_FALSE(codegen::compile_loop(body, inputs, outputs, why).has_value());
  return why;
}

std::vector<float> run(const LoopProgram& program, std::vector<std::vector<float>> inputs, std::size_t elements,
                       int threads = 1) {
  const cpu::LoopInterpreter interpreter(program);
  std::vector<std::byte*> in;
  for (auto& x : inputs) in.push_back(reinterpret_cast<std::byte*>(x.data()));
  std::vector<float> result(elements, -1);
  std::byte* const out[] = {reinterpret_cast<std::byte*>(result.data())};
  std::vector<std::byte> scratch(interpreter.scratch_bytes());
  ThreadPool pool(threads);
  interpreter.run(pool, in, out, scratch.data());
  return result;
}

std::vector<float> random_floats(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(LoopProgram, CollapsesWhatEveryOperandWalksThroughAsOne) {
  Graph body;
  output("y", input(body, "a", DType::f32, {2, 3, 4}) + input(body, "b", DType::f32, {2, 3, 4}));
  const LoopProgram program = compile(body);
  EXPECT_EQ(program.extents, (std::vector<std::int64_t>{24}));
  EXPECT_EQ(program.registers, 3);
}

TEST(LoopProgram, GivesBroadcastOperandsStrideZero) {
  Graph body;
  const Var a = input(body, "a", DType::f32, {2, 3, 4}), b = input(body, "b", DType::f32, {3, 1});
  output("y", a + b);
  const LoopProgram program = compile(body);
  EXPECT_EQ(program.extents, (std::vector<std::int64_t>{2, 3, 4}));
  EXPECT_EQ(program.inputs[1].strides, (Strides{0, 1, 0}));
}

TEST(LoopProgram, OrdersDimensionsAsTheyLieInMemory) {
  Graph body;
  output("y", exp(input(body, "x", DType::f32, {2, 3, 4, 5})));
  const Strides channels_last{60, 1, 15, 3};
  EXPECT_EQ(compile(body, {channels_last}, {channels_last}).extents, (std::vector<std::int64_t>{120}));
}

TEST(LoopProgram, ReusesRegisters) {
  Graph body;
  Var x = input(body, "x", DType::f32, {8});
  for (int i = 0; i < 20; ++i) x = sin(x);
  output("y", x);
  EXPECT_EQ(compile(body).registers, 2);
}

TEST(LoopProgram, LoadsWhatNeverChangesFirst) {
  Graph body;
  const Var x = input(body, "x", DType::f32, {6, 7}), row = input(body, "row", DType::f32, {7});
  output("y", sin(x) * row + input(body, "s", DType::f32, {}));
  const LoopProgram program = compile(body);
  EXPECT_EQ(program.scalars, 1u);
  EXPECT_EQ(program.rows, 1u);
}

TEST(LoopProgram, RefusesWhatIsNoLoop) {
  Graph reads_fold;
  const Var x = input(reads_fold, "x", DType::f32, {4, 4});
  output("y", reduce_sum(x, {1}, true) + x);
  EXPECT_EQ(refusal_of(reads_fold), "a reduction is read again");

  Graph product;
  const Var a = input(product, "a", DType::f32, {4, 4});
  output("y", matmul(a, a));
  EXPECT_EQ(refusal_of(product), "an op that is not element-wise");

  Graph two_axes;
  const Var b = input(two_axes, "b", DType::f32, {4, 4});
  output("rows", reduce_sum(b, {1}));
  output("columns", reduce_sum(b, {0}));
  EXPECT_EQ(refusal_of(two_axes), "reductions over different axes");
}

// x [a, b, c] * row [c] - column [b, 1], with every operand laid out in every order of its dimensions, over extents
// that are smaller and larger than a tile.
TEST(LoopInterpreter, ReadsEveryLayout) {
  for (const Shape& shape : {Shape{3, 5, 7}, Shape{2, 1, 4099}, Shape{700, 3, 2}, Shape{1, 1, 1}, Shape{40, 33, 16}}) {
    Graph body;
    const Var x = input(body, "x", DType::f32, shape), row = input(body, "row", DType::f32, {shape[2]}),
              column = input(body, "column", DType::f32, {shape[1], 1});
    output("y", x * row - column);
    const auto n = static_cast<std::size_t>(shape.elements());
    const std::vector<float> xs = random_floats(n, 1), rows = random_floats(static_cast<std::size_t>(shape[2]), 2),
                             columns = random_floats(static_cast<std::size_t>(shape[1]), 3);
    const std::vector<std::vector<int>> orders = {{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {0, 2, 1}};
    for (const auto& order_in : orders) {
      for (const auto& order_out : orders) {
        const Strides in = permuted(shape, order_in).strides, out = permuted(shape, order_out).strides;
        const std::vector<float> y = run(compile(body, {in, {1}, {1, 1}}, {out}), {xs, rows, columns}, n);
        for (std::int64_t i = 0; i < shape[0]; ++i) {
          for (std::int64_t j = 0; j < shape[1]; ++j) {
            for (std::int64_t k = 0; k < shape[2]; ++k) {
              const float from = xs[static_cast<std::size_t>(i * in[0] + j * in[1] + k * in[2])];
              const float want = from * rows[static_cast<std::size_t>(k)] - columns[static_cast<std::size_t>(j)];
              ASSERT_EQ(y[static_cast<std::size_t>(i * out[0] + j * out[1] + k * out[2])], want)
                  << shape.str() << " at " << i << ", " << j << ", " << k;
            }
          }
        }
      }
    }
  }
}

// Sums over every set of axes, against double.
TEST(LoopInterpreter, FoldsEveryAxis) {
  for (const Shape& shape :
       {Shape{3, 5, 7}, Shape{64, 16, 784}, Shape{5000, 3, 2}, Shape{2, 3, 5000}, Shape{0, 3, 2}}) {
    for (const Ints& axes : std::vector<Ints>{{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}, {0, 1, 2}}) {
      Graph body;
      const Var x = input(body, "x", DType::f32, shape);
      output("y", reduce_sum(x * x, axes, true));
      const auto n = static_cast<std::size_t>(shape.elements());
      const std::vector<float> xs = random_floats(n, 4);
      const Shape kept = body.type(body.outputs()[0].value).shape;
      std::vector<double> want(static_cast<std::size_t>(kept.elements()), 0.0);
      const Strides strides = row_major(kept).strides;
      for (std::size_t at = 0; at < n; ++at) {
        std::size_t rest = at, place = 0;
        for (int d = 2; d >= 0; --d) {
          const auto index = rest % static_cast<std::size_t>(shape[d]);
          rest /= static_cast<std::size_t>(shape[d]);
          if (kept[d] != 1) place += index * static_cast<std::size_t>(strides[static_cast<std::size_t>(d)]);
        }
        want[place] += static_cast<double>(xs[at]) * xs[at];
      }
      const std::vector<float> y = run(compile(body), {xs}, want.size());
      for (std::size_t i = 0; i < want.size(); ++i) {
        ASSERT_NEAR(y[i], want[i], 1e-5 * want[i]) << shape.str() << " over " << axes.size() << " axes, element " << i;
      }
    }
  }
}

// Parts depend on the shape alone, so the number of threads never shows in the bits.
TEST(LoopInterpreter, AnswersTheSameBitsOnAnyNumberOfThreads) {
  Graph body;
  const Var x = input(body, "x", DType::f32, {500, 1200});
  output("y", reduce_sum(exp(x), {0, 1}));
  const LoopProgram program = compile(body);
  const std::vector<float> xs = random_floats(600'000, 5);
  const std::vector<float> one = run(program, {xs}, 1, 1);
  for (const int threads : {1, 2, 3, 7}) {
    const std::vector<float> many = run(program, {xs}, 1, threads);
    EXPECT_EQ(std::memcmp(one.data(), many.data(), sizeof(float)), 0) << threads << " threads";
  }
}

}  // namespace
}  // namespace ml
