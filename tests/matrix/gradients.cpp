// Every gradient against central differences in f64 on the reference device, first and second order.
#include "tests/matrix/gradients.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "engine/graph/autodiff.h"
#include "engine/passes/passes.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/resources.h"
#include "ml/error.h"
#include "tests/matrix/values.h"

namespace ml::test {

Var indices(Graph& graph, const Shape& shape, Ints values) {
  return constant(graph, make_constant(DType::i64, shape, std::as_bytes(std::span(values))));
}

namespace {

using Doubles = std::vector<double>;

std::vector<GradientCase> all_cases() {
  std::vector<GradientCase> all;
  for (const auto cases : {elementwise_gradients(), movement_gradients(), contraction_gradients(), network_gradients(),
                           sequence_gradients()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

Doubles draw(const Parameter& parameter, std::mt19937_64& random) {
  Doubles values(static_cast<std::size_t>(parameter.shape.elements()));
  const auto [kind, low, high] = parameter.values;
  const auto between = [&](double from, double to) { return std::uniform_real_distribution(from, to)(random); };
  const double step = (high - low) / static_cast<double>(std::max<std::size_t>(values.size(), 1));
  for (std::size_t i = 0; i < values.size(); ++i) {
    switch (kind) {
      case Draw::Kind::uniform: values[i] = between(low, high); break;
      case Draw::Kind::apart: values[i] = low + step * (static_cast<double>(i) + between(1.0 / 3, 2.0 / 3)); break;
      case Draw::Kind::fraction: values[i] = std::floor(between(low, high)) + between(0.25, 0.75); break;
    }
  }
  if (kind == Draw::Kind::apart) std::ranges::shuffle(values, random);
  return values;
}

HostTensor tensor(const Shape& shape, const Doubles& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {DType::f64, shape, {bytes.begin(), bytes.end()}};
}

// A graph with its plan, run as often as differences need it.
class Program {
 public:
  Program(const Graph& graph, std::span<const Parameter> parameters, Device& device)
      : resources_(device), context_(device) {
    std::vector<Shape> shapes;
    for (const Parameter& parameter : parameters) shapes.push_back(parameter.shape);
    const passes::Evaluate fold = runtime::reference_evaluate();
    plan_ = runtime::make_staged_plan(passes::bind(graph, shapes, fold), resources_, {fold});
  }

  // Every output's elements, one after another.
  Doubles operator()(std::span<const HostTensor> inputs) {
    Doubles values;
    for (const HostTensor& output : runtime::run_plan(*plan_, context_, inputs)) {
      const std::size_t old = values.size();
      values.resize(old + output.bytes.size() / sizeof(double));
      if (!output.bytes.empty()) std::memcpy(values.data() + old, output.bytes.data(), output.bytes.size());
    }
    return values;
  }

 private:
  runtime::ProgramResources resources_;
  runtime::StreamContext context_;
  std::shared_ptr<const runtime::StagedPlan> plan_;
};

class Check {
 public:
  Check(const GradientCase& c, Device& device) : case_(c), device_(device), random_(random_for(c.name)) {
    for (const Parameter& parameter : c.parameters) {
      parameters_.push_back(input(graph_, "x" + std::to_string(parameters_.size()), DType::f64, parameter.shape));
      inputs_.push_back(tensor(parameter.shape, draw(parameter, random_)));
    }
  }

  void run() {
    Var loss = weighted_sum(case_.build(graph_, parameters_));
    first_ops_ = graph_.nodes().size();
    Vars first = gradients(loss, parameters_);
    compare("gradient", loss, first);
    if (case_.first_order_only != nullptr) return;
    loss = weighted_sum(first);
    compare("second gradient", loss, gradients(loss, parameters_));
  }

  // The ops that the case itself is made of.
  std::set<std::string_view> ops() const {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < first_ops_; ++i) names.insert(graph_.nodes()[i].op->name);
    return names;
  }

 private:
  // A scalar in which each element of each value has a weight of its own.
  Var weighted_sum(std::span<const Var> values) {
    Var sum = scalar(graph_, DType::f64, 0);
    for (const Var& value : values) {
      if (!is_floating(value.dtype())) continue;
      const Shape& shape = value.shape();
      const Doubles weights = draw({shape, kPositive}, random_);
      const Var weight = constant(graph_, make_constant(DType::f64, shape, std::as_bytes(std::span(weights))));
      sum = sum + reduce_sum(cast(value, DType::f64) * weight);
    }
    return sum;
  }

  Graph with_outputs(std::span<const Var> outputs) const {
    Graph graph = graph_;
    for (const Var& value : outputs) graph.add_output("y" + std::to_string(graph.outputs().size()), value.id);
    verify(graph);
    return graph;
  }

  void compare(const char* what, Var loss, const Vars& answer) {
    Program value(with_outputs(std::span(&loss, 1)), case_.parameters, device_);
    Program gradient(with_outputs(answer), case_.parameters, device_);
    const Doubles analytic = gradient(inputs_);
    std::size_t at = 0;
    for (std::size_t p = 0; p < inputs_.size(); ++p) {
      ASSERT_EQ(answer[p].shape(), inputs_[p].shape) << case_.name;
      for (std::size_t i = 0; i < inputs_[p].bytes.size() / sizeof(double); ++i, ++at) {
        ASSERT_LT(at, analytic.size());
        const double numeric = difference(value, p, i);
        EXPECT_NEAR(analytic[at], numeric, 2e-6 * std::max(1.0, std::abs(numeric)))
            << case_.name << ": " << what << " by element " << i << " of parameter " << p;
      }
    }
    EXPECT_EQ(at, analytic.size()) << case_.name;
  }

  // The central difference of fourth order, so that its own error stays far below the tolerance.
  double difference(Program& value, std::size_t parameter, std::size_t element) {
    std::byte* at = inputs_[parameter].bytes.data() + element * sizeof(double);
    double x = 0;
    std::memcpy(&x, at, sizeof x);
    const double h = 1e-4;
    const auto f = [&](double moved) {
      std::memcpy(at, &moved, sizeof moved);
      return value(inputs_)[0];
    };
    const double slope = (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h);
    std::memcpy(at, &x, sizeof x);
    return slope;
  }

  const GradientCase& case_;
  Device& device_;
  std::mt19937_64 random_;
  Graph graph_;
  Vars parameters_;
  std::vector<HostTensor> inputs_;
  std::size_t first_ops_ = 0;
};

TEST(Gradients, AgreeWithDifferencesForEveryRow) {
  SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(test_seed()));
  const std::unique_ptr<Device> device = create_reference_device();
  std::set<std::string_view> tried;
  for (const GradientCase& c : all_cases()) {
    Check check(c, *device);
    try {
      check.run();
    } catch (const Error& error) {
      ADD_FAILURE() << c.name << ": " << error.what();
    }
    tried.merge(check.ops());
  }
  for (const Op* op : all_ops()) {
    EXPECT_TRUE(op->gradient.rule == nullptr || tried.contains(op->name)) << op->name << " has no gradient case";
  }
}

}  // namespace
}  // namespace ml::test
