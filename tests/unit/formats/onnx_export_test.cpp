// Which nodes the exporter writes.
#include <gtest/gtest.h>

#include <string>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/import.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/build_recurrent.h"
#include "engine/graph/text.h"
#include "engine/runtime/evaluate.h"

namespace ml {
namespace {

std::string export_bytes(const Graph& graph, const onnx::ExportOptions& options = {}) {
  std::string bytes;
  const auto append = [&](std::span<const std::byte> piece) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  };
  onnx::export_model(graph, append, options);
  return bytes;
}

onnx::pb::Graph exported(const Graph& graph) {
  onnx::pb::Model model;
  EXPECT_TRUE(model.ParseFromString(export_bytes(graph)));
  return model.graph();
}

std::string types(const onnx::pb::Graph& graph) {
  std::string text;
  for (const auto& node : graph.node()) text += (text.empty() ? "" : " ") + node.op_type();
  return text;
}

TEST(OnnxExport, AMinimumOfAMaximumIsAClip) {
  Graph graph;
  output("y", clamp(input(graph, "x", DType::f32, {2, 3}), 0, 6));
  EXPECT_EQ(types(exported(graph)), "Clip");
}

TEST(OnnxExport, AMaximumThatIsReadElsewhereIsWrittenToo) {
  Graph graph;
  const Var positive = maximum(input(graph, "x", DType::f32, {2, 3}), 0.0);
  output("y", minimum(positive, 6.0));
  output("positive", positive);
  EXPECT_EQ(types(exported(graph)), "Max Clip");
}

TEST(OnnxExport, BoundsThatAreNoScalarsStayMinAndMax) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 3});
  output("y", minimum(maximum(x, 0.0), input(graph, "bounds", DType::f32, {3})));
  EXPECT_EQ(types(exported(graph)), "Max Min");
}

TEST(OnnxExport, StatisticsThatNobodyReadsAreNotAskedFor) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 3}), w = input(graph, "w", DType::f32, {3});
  const Norm norm = layer_norm(x, w, w);
  output("y", norm.y);
  EXPECT_EQ(exported(graph).node(0).output_size(), 1);
  output("mean", norm.mean);
  EXPECT_EQ(exported(graph).node(0).output_size(), 2);
}

TEST(OnnxExport, ProductsOfSwappedMatricesAreGemms) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 3}), w = input(graph, "w", DType::f32, {4, 3});
  output("y", matmul(x, w, false, true));
  output("z", matmul(input(graph, "batch", DType::f32, {5, 2, 3}), w, false, true));
  EXPECT_EQ(types(exported(graph)), "Gemm Transpose MatMul");
}

TEST(OnnxExport, UnknownExtentsThatMoveBetweenOnesAreSqueezedAndUnsqueezed) {
  const Graph graph = parse(R"(graph main {
  input %0 x: f32[1, ?a, 1, ?b]
  input %1 y: f32[?c, ?d]
  %2 = reshape(%0) {dims = [-3, -5]} : f32[?, ?]
  %3 = reshape(%0) {dims = [-3, 1, 1, 1, -5]} : f32[?, 1, 1, 1, ?]
  %4 = reshape(%1) {dims = [1, -2, -3]} : f32[1, ?, ?]
  %5 = reshape(%1) {dims = [-3, -2]} : f32[?, ?]
  output squeezed = %2
  output both = %3
  output unsqueezed = %4
  output swapped = %5
})");
  EXPECT_EQ(types(exported(graph)), "Squeeze Squeeze Unsqueeze Unsqueeze Shape Gather Gather Concat Reshape");
}

TEST(OnnxExport, OfTheOperatorSetThatIsAskedForOrALaterOne) {
  struct Case {
    const char* what;
    int asked, wanted;
    Var (*build)(Graph& graph);
  };
  const auto x = [](Graph& graph, DType dtype) { return input(graph, "x", dtype, {2, 2}); };
  static const auto f32 = [x](Graph& graph) { return x(graph, DType::f32); };
  static const auto x16 = [x](Graph& graph) { return x(graph, DType::f16); };
  static const auto u16 = [x](Graph& graph) { return x(graph, DType::u16); };
  const Case cases[] = {
      {"what has been there", 13, 13, [](Graph& g) { return exp(f32(g)); }},
      {"earlier than anything is written", 3, 7, [](Graph& g) { return exp(f32(g)); }},
      {"later than needed", 27, 27, [](Graph& g) { return exp(f32(g)); }},
      {"an operator that came later", 20, 26, [](Graph& g) { return bit_cast(f32(g), DType::i32); }},
      {"axes, which were an attribute", 13, 13, [](Graph& g) { return reduce_max(f32(g), {0}); }},
      {"an attribute that says nothing", 13, 13, [](Graph& g) { return reshape(f32(g), Shape{4}); }},
      {"an attribute that came later", 13, 14,
       [](Graph& g) {
         return reshape(slice(f32(g), {0, 0}, {0, 2}), Shape{2, 0});
       }},
      {"an element type that came later", 13, 14,
       [](Graph& g) {
         const Var a = u16(g);
         return a + a;
       }},
      {"the same element type, of an operator that always had it", 13, 13,
       [](Graph& g) {
         const Var a = u16(g);
         return maximum(a, a);
       }},
      {"a dimension of one element, which was an attribute", 7, 7,
       [](Graph& g) {
         return squeeze(input(g, "x", DType::f32, {1, kUnknown}), {0});
       }},
      {"an operator that came a little later", 7, 9, [](Graph& g) { return sign(f32(g)); }},
      {"bounds as inputs", 9, 11, [](Graph& g) { return clamp(f32(g), 0, 6); }},
      {"a softmax of the last dimension", 7, 7, [](Graph& g) { return softmax(f32(g), 1); }},
      {"a softmax of another one", 7, 13, [](Graph& g) { return softmax(f32(g), 0); }},
      {"floats that are compared", 7, 11, [](Graph& g) { return eq(f32(g), f32(g)); }},
      {"a half that is infinite", 13, 20, [](Graph& g) { return is_inf(x16(g)); }},
  };
  for (const Case& c : cases) {
    Graph graph;
    output("y", c.build(graph));
    onnx::pb::Model model;
    EXPECT_TRUE(model.ParseFromString(export_bytes(graph, {.opset = c.asked})));
    EXPECT_EQ(model.opset_import(0).version(), c.wanted) << c.what;
  }
}

// Also where something else turns out to need the later set.
TEST(OnnxExport, AnAttributeThatBecameAnInputIsWhatItIsInTheOperatorSetThatIsWritten) {
  for (const bool later : {false, true}) {
    Graph graph;
    const Var x = input(graph, "x", DType::f32, {2, 3});
    output("y", reduce_max(x, {1}));
    if (later) output("z", gelu(x));
    onnx::pb::Model model;
    ASSERT_TRUE(model.ParseFromString(export_bytes(graph, {.opset = 13})));
    EXPECT_EQ(model.opset_import(0).version(), later ? 20 : 13);
    const auto& node = model.graph().node(0);
    std::string attributes;
    for (const auto& attribute : node.attribute()) attributes += attribute.name() + " ";
    EXPECT_EQ(attributes, later ? "keepdims " : "keepdims axes ");
    EXPECT_EQ(node.input_size(), later ? 2 : 1);
    EXPECT_EQ(model.graph().initializer_size(), later ? 1 : 0);
  }
}

// Nodes that a row does the work of are left out where all that read them are.
TEST(OnnxExport, OperandsOfAProductOfBytesAreLeftOutIfNothingElseReadsThem) {
  for (const bool elsewhere : {false, true}) {
    Graph graph;
    const Var x = cast(input(graph, "x", DType::u8, {3, 3}), DType::i32);
    const Var w = cast(input(graph, "w", DType::u8, {3, 3}), DType::i32);
    output("square", matmul(x, x));
    output("y", matmul(w, w - cast(input(graph, "zero", DType::u8, {}), DType::i32)));
    if (elsewhere) output("w32", w);
    EXPECT_EQ(types(exported(graph)), elsewhere ? "Cast MatMulInteger MatMulInteger" : "MatMulInteger MatMulInteger");
  }
}

TEST(OnnxExport, AnOutputThatIsCalledLikeAnInputIsRenamed) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2});
  output("x", x + x);
  const onnx::pb::Graph file = exported(graph);
  EXPECT_EQ(file.output(0).name(), "x_");
  EXPECT_EQ(file.node(0).output(0), "x_");
}

// f32 inputs of a recurrent layer: [3, 2, directions, gates * 4] and so on.
struct Recurrence {
  Graph graph;
  std::vector<HostTensor> inputs;

  Var input(const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(static_cast<int>((i * 37 + inputs.size() * 11) % 101) - 50) / 50;
    const auto bytes = std::as_bytes(std::span(values));
    inputs.push_back({DType::f32, shape, {bytes.begin(), bytes.end()}});
    return ml::input(graph, "x" + std::to_string(inputs.size()), DType::f32, shape);
  }
  Var lengths() {
    const std::int64_t values[] = {2, 3};
    const auto bytes = std::as_bytes(std::span(values));
    inputs.push_back({DType::i64, {2}, {bytes.begin(), bytes.end()}});
    return ml::input(graph, "x" + std::to_string(inputs.size()), DType::i64, {2});
  }
};

TEST(OnnxExport, RecurrentLayersComputeTheSameAfterwards) {
  struct Case {
    const char* what;
    void (*build)(Recurrence& r);
    const char* types;
  };
  const Case cases[] = {
      {"gates that are inputs",
       [](Recurrence& r) {
         const Var gates = r.input({3, 2, 2, 16}), weights = r.input({2, 16, 4}), state = r.input({2, 2, 4});
         output("y", lstm(gates, weights, state, state).y);
       },
       "Reshape LSTM Transpose"},
      {"a product and a bias before it",
       [](Recurrence& r) {
         const Var product = matmul(r.input({3, 2, 5}), r.input({32, 5}), false, true) + r.input({32});
         const Var gates = reshape(product, {3, 2, 2, 16}), weights = r.input({2, 16, 4}), state = r.input({2, 2, 4});
         const Recurrent done = lstm(gates, weights, state, state, r.lengths());
         output("y", done.y);
         output("h", done.h);
         output("c", done.c);
       },
       "Cast Reshape Reshape Concat LSTM Transpose"},
      {"a product that is read elsewhere",
       [](Recurrence& r) {
         const Var product = matmul(r.input({3, 2, 5}), r.input({16, 5}), false, true);
         const Var gates = reshape(product, {3, 2, 1, 16}), weights = r.input({1, 16, 4}), state = r.input({1, 2, 4});
         output("y", lstm(gates, weights, state, state, {}, true).y);
         output("product", product);
       },
       "Transpose MatMul Reshape LSTM Transpose"},
      {"gru, reversed, with a bias behind the reset gate",
       [](Recurrence& r) {
         const Var gates = r.input({3, 2, 1, 12}), weights = r.input({1, 12, 4}), state = r.input({1, 2, 4});
         const Recurrent done = gru(gates, weights, state, r.input({1, 4}), r.lengths(), true);
         output("y", done.y);
         output("h", done.h);
       },
       "Concat Cast Reshape Concat GRU Transpose"},
  };
  const std::unique_ptr<Device> device = create_reference_device();
  for (const Case& c : cases) {
    Recurrence r;
    c.build(r);
    EXPECT_EQ(types(exported(r.graph)), c.types) << c.what;
    const std::string bytes = export_bytes(r.graph);
    const auto blob = Blob::copy_of(std::as_bytes(std::span(bytes)));
    const Graph again = onnx::import_model(blob, runtime::reference_evaluate());
    const std::vector<HostTensor> wanted = evaluate(r.graph, *device, r.inputs);
    const std::vector<HostTensor> got = evaluate(again, *device, r.inputs);
    ASSERT_EQ(got.size(), wanted.size()) << c.what;
    for (std::size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i].shape, wanted[i].shape) << c.what;
      const auto* a = reinterpret_cast<const float*>(got[i].bytes.data());
      const auto* b = reinterpret_cast<const float*>(wanted[i].bytes.data());
      for (std::int64_t k = 0; k < got[i].shape.elements(); ++k) EXPECT_NEAR(a[k], b[k], 1e-6) << c.what << ' ' << i;
    }
  }
}

}  // namespace
}  // namespace ml
