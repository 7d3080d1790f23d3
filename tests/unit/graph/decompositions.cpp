// What rows say besides their shapes: decompositions of the right types, costs that make sense.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/graph/build_nn.h"
#include "ml/error.h"
#include "tests/unit/graph/form_samples.h"

namespace ml::test {
namespace {

// The same types with every floating dtype replaced.
std::vector<TensorType> in_dtype(std::vector<TensorType> types, DType dtype) {
  for (TensorType& type : types) {
    if (is_floating(type.dtype)) type.dtype = dtype;
  }
  return types;
}

// `types` of the op's inputs -> the types of its decomposition's outputs.
std::vector<TensorType> decomposed_types(const Node& node, std::span<const TensorType> types) {
  Graph graph;
  std::vector<Var> inputs;
  for (const TensorType& type : types)
    inputs.push_back(input(graph, "x" + std::to_string(inputs.size()), type.dtype, type.shape));
  std::vector<TensorType> results;
  for (const Var& result : node.op->decompose({graph, inputs, {}, {}, node.attributes})) {
    output("y" + std::to_string(results.size()), result);
    results.push_back(result.type());
  }
  verify(graph);
  return results;
}

TEST(Decompositions, AnswerTheTypesOfTheirRow) {
  for (const FormSample& sample : form_samples()) {
    for (const Node& node : sample.graph.nodes()) {
      if (node.op->decompose == nullptr) continue;
      const std::vector<TensorType> given = types_of(sample.graph, node.inputs);
      const bool bound = std::ranges::all_of(given, [](const TensorType& type) { return type.shape.known(); });
      for (const DType dtype : {DType::f64, DType::f32, DType::f16, DType::bf16}) {
        const std::vector<TensorType> types = in_dtype(given, dtype);
        std::vector<TensorType> wanted;
        try {
          wanted = infer(*node.op, types, *node.attributes);
        } catch (const Error&) {
          continue;  // a body that wants another dtype
        }
        if (bound) {
          EXPECT_EQ(decomposed_types(node, types), wanted) << sample.name << " in " << dtype_name(dtype);
        }
      }
    }
  }
}

TEST(Costs, AreFiniteAndCountWhatIsReadAndWritten) {
  for (const FormSample& sample : form_samples()) {
    if (!sample.graph.bound()) continue;
    for (const Node& node : sample.graph.nodes()) {
      const std::vector<TensorType> inputs = types_of(sample.graph, node.inputs);
      std::vector<TensorType> outputs;
      double bytes = 0;
      for (std::uint32_t i = 0; i < node.output_count; ++i) outputs.push_back(sample.graph.type(node.output(i)));
      for (const auto& types : {inputs, outputs}) {
        for (const TensorType& type : types)
          bytes += static_cast<double>(type.shape.elements()) * static_cast<double>(dtype_size(type.dtype));
      }
      const Cost found = cost(*node.op, inputs, outputs, *node.attributes);
      EXPECT_TRUE(std::isfinite(found.flops) && found.flops >= 0) << sample.name;
      EXPECT_EQ(found.bytes, bytes) << sample.name;
    }
  }
}

double flops(Var result) {
  const Node& node = *result.graph->producer(result.id);
  return cost(*node.op, types_of(*result.graph, node.inputs), std::span(&result.type(), 1), *node.attributes).flops;
}

TEST(Costs, OfConvolutionsAreTwoForEachProduct) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 4, 5, 5}), w = input(graph, "w", DType::f32, {6, 2, 3, 3});
  const Var bias = input(graph, "b", DType::f32, {6});
  const double products = 2.0 * (2 * 6 * 3 * 3) * (2 * 3 * 3);  // outputs times weights that each sees
  const Var y = convolution(x, w, {}, Windows::unit(2), 2);
  EXPECT_EQ(flops(y), products);
  EXPECT_EQ(flops(convolution(x, w, bias, Windows::unit(2), 2)), products + 2 * 6 * 3 * 3);
  EXPECT_EQ(flops(convolution_input_gradient(y, w, Windows::unit(2), 2, {5, 5})), products);
  EXPECT_EQ(flops(convolution_weight_gradient(x, y, Windows::unit(2), 2, {3, 3})), products);
  EXPECT_EQ(flops(max_pool(x, {2, 2}, Windows::unit(2))), 4.0 * (2 * 4 * 4 * 4));
}

}  // namespace
}  // namespace ml::test
