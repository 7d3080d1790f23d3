// Random graphs give the same answers before and after every pass, and after all of them.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/graph/build.h"
#include "engine/graph/text.h"
#include "engine/passes/passes.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/kernel_request.h"

namespace ml::passes {
namespace {

constexpr std::int64_t kRows = 3, kColumns = 4;

// Writes a graph over f32 values of a few shapes that broadcast together. With `symbolic`, rows are an unknown extent.
class Generator {
 public:
  Generator(std::uint64_t seed, bool symbolic) : random_(seed), rows_(symbolic ? kUnknown : kRows) {}

  Graph run() {
    const std::vector<std::string> symbols =
        rows_ == kUnknown ? std::vector<std::string>{"n", ""} : std::vector<std::string>{};
    for (const char* name : {"a", "b", "c"})
      values_.push_back({&graph_, graph_.add_input(name, {DType::f32, {rows_, kColumns}}, symbols)});
    values_.push_back(input(graph_, "row", DType::f32, {kColumns}));
    const int count = 5 + pick(25);
    for (int i = 0; i < count; ++i) values_.push_back(next());
    const int outputs = 1 + pick(3);
    for (int i = 0; i < outputs; ++i) output("y" + std::to_string(i), values_[values_.size() - 1 - pick(4)]);
    if (pick(2) == 0) {  // state in and out
      output("state", any() * 0.5 + values_[0]);
      graph_.donate(0, static_cast<std::uint32_t>(graph_.outputs().size() - 1));
    }
    return std::move(graph_);
  }

 private:
  int pick(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }
  Var any() {
    const Var x = values_[static_cast<std::size_t>(pick(static_cast<int>(values_.size())))];
    return x.rank() == 2 ? x : broadcast_like(x);
  }
  Var broadcast_like(Var x) { return values_[0] * 0.0 + x; }
  Var next() {
    switch (pick(16)) {
      case 0: return tanh(any());
      case 1: return any() + any();
      case 2: return any() * any();
      case 3: return maximum(any(), any());
      case 4: return select(gt(any(), any()), any(), any());
      case 5: return silu(any());
      case 6: return gelu(any());
      case 7: return reduce_sum(any(), {pick(2)}, true) * any();
      case 8: return reduce_max(any(), {1}, true) - any();
      case 9: return transpose(transpose(any(), {1, 0}), {1, 0});
      case 10: return any() + std::sin(static_cast<double>(pick(10)));
      case 11: return values_[static_cast<std::size_t>(pick(4))];
      case 12: return tanh(scalar(graph_, DType::f32, pick(3)) + scalar(graph_, DType::f32, 1)) * any();
      case 13: return matmul(any(), constant(graph_, make_splat(DType::f32, {kColumns, kColumns}, 0.25)));
      case 14: return cast(cast(any(), DType::f64), DType::f32);
      default:
        return transpose(
            slice(transpose(concat(std::vector<Var>{any(), any()}, 1), {1, 0}), {2, 0}, {2 + kColumns, kRows}), {1, 0});
    }
  }

  std::mt19937_64 random_;
  std::int64_t rows_;
  Graph graph_;
  std::vector<Var> values_;
};

std::vector<HostTensor> random_inputs(const Graph& graph, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(-2, 2);
  std::vector<HostTensor> inputs;
  for (const GraphInput& input : graph.inputs()) {
    Shape shape = graph.type(input.value).shape;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] == kUnknown) shape[axis] = kRows;
    }
    HostTensor tensor{DType::f32, shape, std::vector<std::byte>(static_cast<std::size_t>(shape.elements()) * 4)};
    auto* values = reinterpret_cast<float*>(tensor.bytes.data());
    for (std::int64_t i = 0; i < shape.elements(); ++i) values[i] = uniform(random);
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

// The answers without any pass or plan: each node is computed by itself.
std::vector<HostTensor> node_by_node(const Graph& graph, std::span<const HostTensor> inputs) {
  const Evaluate compute = runtime::reference_evaluate();
  std::vector<ConstantPtr> values(graph.values().size());
  for (std::size_t i = 0; i < inputs.size(); ++i)
    values[graph.inputs()[i].value] = make_constant(inputs[i].dtype, inputs[i].shape, inputs[i].bytes);
  for (const Node& node : graph.nodes()) {
    if (node.op->kind == OpKind::constant) {
      values[node.first_output] = node.as<ConstantAttributes>().value;
      continue;
    }
    std::vector<ConstantPtr> operands;
    for (const ValueId id : node.inputs) operands.push_back(values[id]);
    const std::vector<ConstantPtr> results = compute(graph, node, operands);
    for (std::uint32_t i = 0; i < node.output_count; ++i) values[node.output(i)] = results[i];
  }
  std::vector<HostTensor> outputs;
  for (const GraphOutput& result : graph.outputs()) {
    const ConstantData& value = *values[result.value];
    outputs.push_back({value.dtype, value.shape, {value.bytes().begin(), value.bytes().end()}});
  }
  return outputs;
}

void expect_same(const std::vector<HostTensor>& wanted, const std::vector<HostTensor>& got, const char* what) {
  ASSERT_EQ(wanted.size(), got.size()) << what;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_EQ(wanted[i].shape, got[i].shape) << what;
    const auto* a = reinterpret_cast<const float*>(wanted[i].bytes.data());
    const auto* b = reinterpret_cast<const float*>(got[i].bytes.data());
    for (std::int64_t k = 0; k < wanted[i].shape.elements(); ++k) {
      if (std::isnan(a[k]) && std::isnan(b[k])) continue;
      ASSERT_NEAR(a[k], b[k], 1e-5 * (1 + std::abs(a[k]))) << what << ", output " << i << ", element " << k;
    }
  }
}

class RandomGraphs : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, RandomGraphs, testing::Range<std::uint64_t>(1, 61));

TEST_P(RandomGraphs, GiveTheSameAnswersAfterEveryPass) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  const Graph graph = Generator(GetParam(), false).run();
  verify(graph);
  const std::vector<HostTensor> inputs = random_inputs(graph, GetParam() + 1000);
  const std::unique_ptr<Device> device = create_reference_device();
  const std::vector<HostTensor> wanted = node_by_node(graph, inputs);
  const Evaluate compute = runtime::reference_evaluate();
  const KeepRule nothing = [](const Graph&, const Node&) { return false; };
  const auto expect = [&](const Graph& rewritten, const char* what) {
    SCOPED_TRACE(print(rewritten));
    verify(rewritten);
    expect_same(wanted, ml::evaluate(rewritten, *device, inputs), what);
  };
  expect(fold(graph, compute), "fold");
  expect(eliminate_dead_code(graph), "dead code");
  expect(eliminate_common_subexpressions(graph), "common subexpressions");
  expect(clean_algebra(graph), "algebra");
  expect(clean_movement(graph), "movement");
  expect(decompose(graph, nothing), "decompose");
  expect(fuse(decompose(graph, nothing)), "fuse");
  expect(simplify(graph, compute), "simplify");
  expect(lower(graph, {nothing, true}, compute), "all together, fused");
  expect(lower(graph, {nothing, false}, compute), "all together");
}

TEST_P(RandomGraphs, GiveTheSameAnswersOnceBound) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  const Graph symbolic = Generator(GetParam(), true).run();
  const Graph graph = Generator(GetParam(), false).run();
  const std::vector<HostTensor> inputs = random_inputs(graph, GetParam() + 2000);
  const std::unique_ptr<Device> device = create_reference_device();
  expect_same(node_by_node(graph, inputs), ml::evaluate(symbolic, *device, inputs), "bind");
}

TEST_P(RandomGraphs, GiveTheSameAnswersOnTheCpu) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  const Graph graph = Generator(GetParam(), false).run();
  const std::vector<HostTensor> inputs = random_inputs(graph, GetParam() + 3000);
  const std::unique_ptr<Device> cpu = create_cpu_device(2);
  expect_same(node_by_node(graph, inputs), ml::evaluate(graph, *cpu, inputs), "cpu");
}

}  // namespace
}  // namespace ml::passes
