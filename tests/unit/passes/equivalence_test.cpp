// Random graphs give the same answers before and after every pass, and after all of them. ML_TEST_ROUNDS says how many
// are tried (10,000 at night), ML_TEST_SEED which is the first; what fails names its seed.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <random>

#include "engine/graph/scalar.h"
#include "engine/graph/text.h"
#include "engine/passes/passes.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/kernel_request.h"
#include "tests/unit/passes/generator.h"

namespace ml::passes {
namespace {

using test::Generator;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  if (text == nullptr) return otherwise;
  char* end = nullptr;
  const std::uint64_t value = std::strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0')
    throw std::runtime_error(std::string(name) + " is '" + text + "', not a whole number");
  return value;
}

// Calls f with the seed of each round, until something fails.
template <class F>
void each_seed(F f) {
  const std::uint64_t first = from_environment("ML_TEST_SEED", 1), count = from_environment("ML_TEST_ROUNDS", 500);
  std::cerr << "ML_TEST_SEED=" << first << " ML_TEST_ROUNDS=" << count << "\n";
  for (std::uint64_t seed = first; seed < first + count && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(seed) + " ML_TEST_ROUNDS=1");
    f(seed);
  }
}

std::vector<HostTensor> random_inputs(const Graph& graph, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(-2, 2);
  std::vector<HostTensor> inputs;
  for (const GraphInput& input : graph.inputs()) {
    const auto& [dtype, shape] = graph.type(input.value);
    const std::size_t size = dtype_size(dtype);
    HostTensor tensor{dtype, shape, std::vector<std::byte>(static_cast<std::size_t>(shape.elements()) * size)};
    for (std::size_t at = 0; at < tensor.bytes.size(); at += size)
      store_double(dtype, &tensor.bytes[at], uniform(random));
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

void expect_same(const std::vector<HostTensor>& wanted, const std::vector<HostTensor>& got, double tolerance,
                 const char* what) {
  ASSERT_EQ(wanted.size(), got.size()) << what;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_EQ(wanted[i].shape, got[i].shape) << what;
    const std::size_t size = dtype_size(wanted[i].dtype);
    for (std::size_t at = 0; at < wanted[i].bytes.size(); at += size) {
      const double a = load_double(wanted[i].dtype, &wanted[i].bytes[at]);
      const double b = load_double(got[i].dtype, &got[i].bytes[at]);
      if (std::isnan(a) && std::isnan(b)) continue;
      ASSERT_NEAR(a, b, tolerance * (1 + std::abs(a))) << what << ", output " << i << ", element " << at / size;
    }
  }
}

// In f64, where another order of additions is no excuse.
TEST(RandomGraphs, GiveTheSameAnswersAfterEveryPass) {
  const Evaluate compute = runtime::reference_evaluate();
  const KeepRule nothing = [](const Graph&, const Node&) { return false; };
  const std::unique_ptr<Device> device = create_reference_device();
  each_seed([&](std::uint64_t seed) {
    const Graph graph = Generator(seed, DType::f64, false).run();
    verify(graph);
    const std::vector<HostTensor> inputs = random_inputs(graph, seed);
    const std::vector<HostTensor> wanted = node_by_node(graph, inputs);
    const auto expect = [&](const Graph& rewritten, const char* what) {
      SCOPED_TRACE(std::string(what) + "\n" + print(graph) + "\nbecame\n" + print(rewritten));
      verify(rewritten);
      expect_same(wanted, node_by_node(rewritten, inputs), 1e-10, what);
    };
    expect(fold(graph, compute), "fold");
    expect(eliminate_dead_code(graph), "dead code");
    expect(eliminate_common_subexpressions(graph), "common subexpressions");
    const Graph clean = clean_algebra(graph);
    expect(clean, "algebra");
    expect(clean_movement(graph), "movement");
    expect(find_activations(clean), "activations");
    expect(find_softmax(clean), "softmax");
    expect(find_norms(clean), "norms");
    expect(fold_into_weights(graph), "weights");
    const KeepRule everything = [](const Graph&, const Node&) { return true; };
    expect(join_epilogues(graph, everything), "epilogues");
    expect(find_attention(clean_movement(find_softmax(clean)), everything), "attention");
    const Graph primitives = decompose(graph, nothing);
    expect(primitives, "decompose");
    expect(fuse(primitives), "fuse");
    const Graph simple = simplify(graph, compute);
    expect(simple, "simplify");
    expect(lower(simple, {nothing, true}, compute), "all together, fused");
    expect(lower(simple, {nothing, false}, compute), "all together");
    expect_same(wanted, ml::evaluate(simple, *device, inputs), 1e-10, "a plan");
  });
}

TEST(RandomGraphs, GiveTheSameAnswersOnceBound) {
  const Evaluate compute = runtime::reference_evaluate();
  const std::unique_ptr<Device> device = create_reference_device();
  each_seed([&](std::uint64_t seed) {
    const Graph symbolic = Generator(seed, DType::f64, true).run();
    const Graph graph = Generator(seed, DType::f64, false).run();
    verify(symbolic);
    const std::vector<HostTensor> inputs = random_inputs(graph, seed);
    SCOPED_TRACE(print(symbolic));
    const std::vector<HostTensor> wanted = node_by_node(graph, inputs);
    expect_same(wanted, ml::evaluate(simplify(symbolic, compute), *device, inputs), 1e-10, "bind");
  });
}

TEST(RandomGraphs, GiveTheSameAnswersOnTheCpu) {
  const Evaluate compute = runtime::reference_evaluate();
  const std::unique_ptr<Device> cpu = create_cpu_device(2);
  each_seed([&](std::uint64_t seed) {
    const Graph graph = Generator(seed, DType::f32, false).run();
    SCOPED_TRACE(print(graph));
    const std::vector<HostTensor> inputs = random_inputs(graph, seed);
    expect_same(node_by_node(graph, inputs), ml::evaluate(simplify(graph, compute), *cpu, inputs), 2e-5, "cpu");
  });
}

}  // namespace
}  // namespace ml::passes
