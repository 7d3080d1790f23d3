// Operators on tensors in ONNX models: what is refused and how, what an execution reports, and what stays out of the
// graph.
#include <gtest/gtest.h>

#include <limits>

#include "engine/formats/onnx/export.h"
#include "tests/unit/formats/onnx_refusals.h"

namespace ml {
namespace {

using namespace onnx_models;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

TEST(OnnxTensors, SaysWhatIsWrong) {
  const std::vector<int> x{2, 3, 4};
  const std::vector<Refusal> cases = {
      {"an axis outside", 18, "ReduceSum", {x}, {{3}}, {}, {}, {}, "axis 3"},
      {"an axis twice", 18, "ReduceSum", {x}, {{1, -2}}, {}, {}, {}, "axes must be sorted and unique"},
      {"nothing to squeeze", 13, "Squeeze", {x}, {{1}}, {}, {}, {}, "dimension 1 of [2, 3, 4] is not 1"},
      {"a new axis twice", 13, "Unsqueeze", {x}, {{1, 1}}, {}, {}, {}, "is named twice"},
      {"too many axes", 13, "Unsqueeze", {x}, {{0, 1, 2, 3, 4, 5}}, {}, {}, {}, "6 new axes of [2, 3, 4]"},
      {"steps of 0", 13, "Slice", {x}, {{0}, {1}, {0}, {0}}, {}, {}, {}, "a step cannot be 0"},
      {"other lengths", 13, "Slice", {x}, {{0, 0}, {1}}, {}, {}, {}, "one value per axis"},
      {"parts that do not add up", 13, "Split", {x}, {{1, 3}}, {}, {{"axis", 1}}, {}, "add up to 4, the axis has 3"},
      {"too few parts", 13, "Split", {x}, {{}}, {}, {}, {}, "sizes [0] of 1 parts"},
      {"no sizes", 18, "Split", {x}, {}, {}, {{"num_outputs", kMost}}, {}, "the node has 1 outputs"},
      {"a repeat too few", 13, "Tile", {x}, {{1, 2}}, {}, {}, {}, "one per axis is needed"},
      {"a repeat below 0", 13, "Tile", {x}, {{1, -2, 1}}, {}, {}, {}, "a repeat of -2"},
      {"shapes that differ", 13, "Expand", {x}, {{5, 4}}, {}, {}, {}, "(3 vs 5)"},
      {"a step of 0", 11, "Range", {}, {{0}, {5}, {0}}, {}, {}, {}, "a step of 0"},
      {"a border beyond memory",
       6,
       "Pad",
       {{2, 3, 4, 4}},
       {},
       {{"pads", {0, 0, 3, 1, 0, kMost / 2, 4, 2}}},
       {},
       {{"mode", "edge"}},
       "is larger than 2^48 bytes"},
      {"a range beyond memory", 11, "Range", {}, {{0}, {kMost}, {1}}, {}, {}, {}, "is larger than 2^48 bytes"},
      {"k too large", 11, "TopK", {x}, {{5}}, {}, {}, {}, "k = 5 is outside of axis 2"},
      {"k below 0", 11, "TopK", {x}, {{-1}}, {}, {}, {}, "k = -1"},
      {"two numbers", 14, "Trilu", {x}, {{1, 2}}, {}, {}, {}, "must be one number, not [2]"},
      {"a vector", 14, "Trilu", {{4}}, {}, {}, {}, {}, "a matrix is needed, not [4]"},
      {"no matrix", 9, "EyeLike", {x}, {}, {}, {}, {}, "a matrix is needed"},
      {"a negative depth", 11, "OneHot", {x}, {{-3}, {0, 1}}, {}, {}, {}, "a negative depth"},
      {"long tuples", 13, "GatherND", {x}, {{0, 1, 2, 0}}, {}, {}, {}, "indices [4] into [2, 3, 4]"},
      {"batches of nothing", 13, "GatherND", {x}, {{0}}, {}, {{"batch_dims", 2}}, {}, "batch_dims = 2"},
      {"updates of another rank", 13, "ScatterND", {x, {}, x}, {}, {}, {}, {}, "input 1 is missing"},
      {"no such reduction", 16, "ScatterElements", {x}, {{0}}, {}, {}, {{"reduction", "max"}}, "reduction 'max'"},
      {"the axis of the batch", 24, "TensorScatter", {x, x}, {}, {}, {{"axis", 0}}, {}, "cannot be that of the batch"},
      {"axes that are one",
       10,
       "ReverseSequence",
       {x},
       {{1}},
       {},
       {{"batch_axis", 1}, {"time_axis", 1}},
       {},
       "time_axis 1"},
      {"p = 3", 1, "LpNormalization", {x}, {}, {}, {{"p", 3}}, {}, "p = 3, only 1 and 2"},
      {"no squares", 11, "Det", {x}, {}, {}, {}, {}, "square matrices are needed, not [2, 3, 4]"},
      {"no numbers", 17, "DFT", {x}, {}, {}, {}, {}, "real or complex numbers"},
      {"the last axis", 17, "DFT", {{2, 4, 2}}, {}, {}, {{"axis", 2}}, {}, "the last axis holds"},
      {"a length below 0", 17, "DFT", {{2, 4, 2}}, {{-4}}, {}, {}, {}, "a length of -4"},
      {"a length beyond memory", 17, "DFT", {{2, 4, 2}}, {{kMost}}, {}, {}, {}, "is larger than 2^48 bytes"},
      {"a step of nothing", 17, "STFT", {{2, 40, 1}}, {{0}}, {}, {}, {}, "a frame_step of 0"},
      {"a frame beyond the signal", 17, "STFT", {{2, 40, 1}, {}, {}}, {}, {}, {}, {}, "input 1 is missing"},
      {"a name for a sum", 12, "Einsum", {x}, {}, {}, {}, {{"equation", "ab->a"}}, "does not name the dimensions"},
      {"operands too many", 12, "Einsum", {x}, {}, {}, {}, {{"equation", "abc,a->a"}}, "more operands than the node"},
      {"operands too few", 12, "Einsum", {x, x}, {}, {}, {}, {{"equation", "abc->a"}}, "fewer operands"},
      {"a result of nothing", 12, "Einsum", {x}, {}, {}, {}, {{"equation", "abc->d"}}, "cannot have 'd'"},
      {"a result twice", 12, "Einsum", {x}, {}, {}, {}, {{"equation", "abc->aa"}}, "cannot have 'a'"},
      {"a sign", 12, "Einsum", {x}, {}, {}, {}, {{"equation", "a+c->a"}}, "does not name the dimensions"},
      {"unequal extents",
       12,
       "Einsum",
       {x, x},
       {},
       {},
       {},
       {{"equation", "abc,bac->a"}},
       "'b' is 3 in one place and 2"},
      {"a diagonal of a rectangle", 12, "Einsum", {x}, {}, {}, {}, {{"equation", "aac->a"}}, "'a' is 2 in one place"},
      {"samples of no size", 7, "Multinomial", {{2, 3}}, {}, {}, {{"sample_size", 0}}, {}, "sample_size = 0"},
      {"an extent below 0", 1, "RandomNormal", {}, {}, {{"shape", {2, -3}}}, {}, {}, "an extent of -3"},
      {"integers that are random",
       1,
       "RandomUniform",
       {},
       {},
       {{"shape", {2}}},
       {{"dtype", 7}},
       {},
       "floating numbers"},
      {"strings", 9, "TfIdfVectorizer", {x}, {}, {}, {}, {{"pool_strings", "a"}}, "of strings"},
      {"columns of nothing", 9, "TfIdfVectorizer", {x}, {}, {{"pool_int64s", {1}}}, {}, {}, "ngram_indexes"},
      {"a column beyond memory",
       9,
       "TfIdfVectorizer",
       {x},
       {},
       {{"pool_int64s", {1}}, {"ngram_counts", {0}}, {"ngram_indexes", {kMost - 1}}},
       {},
       {},
       "of a pool of 1 items"},
      {"n-grams in pieces",
       9,
       "TfIdfVectorizer",
       {{4}},
       {},
       {{"pool_int64s", {1, 2, 3}}, {"ngram_counts", {0, 0}}, {"ngram_indexes", {0}}},
       {{"max_gram_length", 2}},
       {},
       "2-grams from 0 to 3"},
      {"skips without end",
       9,
       "TfIdfVectorizer",
       {x},
       {},
       {{"ngram_indexes", {0}}},
       {{"max_skip_count", kMost}},
       {},
       "skipped"},
      {"peepholes of nothing",
       22,
       "LSTM",
       {{1, 2, 4}, {1, 12, 4}, {1, 12, 3}, {}, {}, {}, {}, {1}},
       {},
       {},
       {},
       {},
       "P [1], wanted [1, 9]"},
      {"another width", 26, "BitCast", {x}, {}, {}, {{"to", 5}}, {}, "another width than i16"},
      {"no scale", 19, "QuantizeLinear", {x}, {}, {}, {}, {}, "input 1 is missing"},
      {"no scale", 19, "DequantizeLinear", {x}, {}, {}, {}, {}, "input 1 is missing"},
      {"no scales", 10, "QLinearMatMul", {{2, 3}, {}, {}, {3, 2}}, {}, {}, {}, {}, "is missing"},
  };
  for (const Refusal& c : cases) {
    EXPECT_NE(message_of(model_of(c)).find(c.message), std::string::npos)
        << c.op << ", " << c.what << ": " << message_of(model_of(c));
  }
}

// One node on run-time operands.
struct RunOf {
  const char* op;
  int version;
  std::vector<HostTensor> operands;
  std::vector<std::pair<const char*, std::int64_t>> integers;
  const char* message;
};

// What depends on values is found when the model runs.
TEST(OnnxTensors, ExecutionsReportWhatIsOutOfRange) {
  const HostTensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto whole = [](std::vector<std::int64_t> values) {
    return tensor(DType::i64, {static_cast<std::int64_t>(values.size())}, values);
  };
  const auto pairs = [](std::vector<std::int64_t> values) {
    return tensor(DType::i64, {static_cast<std::int64_t>(values.size()) / 2, 2}, values);
  };
  const RunOf runs[] = {
      {"ReduceSum", 18, {x, whole({2})}, {}, "out of range"},
      {"CumSum", 14, {x, tensor<std::int64_t>(DType::i64, {}, {-3})}, {}, "out of range"},
      {"Unsqueeze", 13, {x, whole({-4})}, {}, "out of range"},
      {"Squeeze", 13, {x, whole({0})}, {}, "6 elements do not make 3"},
      {"Slice", 13, {x, whole({0}), whole({1}), whole({0}), whole({0})}, {}, "a step cannot be 0"},
      {"GatherND", 13, {x, pairs({0, 1, 1, 3})}, {}, "out of range"},
      {"GatherND", 13, {x, pairs({0, 1, -3, 2})}, {}, "out of range"},
      {"ScatterND", 13, {x, pairs({0, 1, 2, 0}), floats({2}, {1, 2})}, {}, "out of range"},
      {"TensorScatter", 24, {x, floats({2, 2}, {1, 2, 3, 4}), whole({1, 2})}, {{"axis", 1}}, "out of range"},
  };
  for (const RunOf& r : runs) {
    Model model = empty_model(r.version);
    auto& graph = *model.mutable_graph();
    auto& node = *graph.add_node();
    node.set_op_type(r.op);
    for (std::size_t i = 0; i < r.operands.size(); ++i) {
      const std::string name = "x" + std::to_string(i);
      node.add_input(name);
      add_value(graph.mutable_input(), name, {}, r.operands[i].dtype == DType::i64 ? 7 : 1);
      auto& shape = *graph.mutable_input()->rbegin()->mutable_type()->mutable_tensor_type()->mutable_shape();
      for (const std::int64_t extent : r.operands[i].shape.dims()) shape.add_dim()->set_dim_value(extent);
    }
    for (const auto& [name, value] : r.integers) set(node, name, value);
    node.add_output("y");
    graph.add_output()->set_name("y");
    try {
      run(import_proto(model), r.operands);
      ADD_FAILURE() << r.op << " runs";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(r.message), std::string::npos) << r.op << ": " << error.what();
    }
  }
}

TEST(OnnxTensors, AxesThatAreConstantsLeaveNoShapeArithmetic) {
  Model model = empty_model(18);
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {-1, 3, 1, 5});
  add_numbers(graph, "axes", {-1});
  add_numbers(graph, "ones", {2});
  add_numbers(graph, "starts", {1});
  add_numbers(graph, "ends", {3});
  add_node(model, "Squeeze", {"x", "ones"}, {"squeezed"});
  add_node(model, "Slice", {"squeezed", "starts", "ends", "starts"}, {"part"});
  add_node(model, "ReduceMean", {"part", "axes"}, {"mean"});
  add_node(model, "Unsqueeze", {"mean", "axes"}, {"y"});
  graph.add_output()->set_name("y");
  const Graph imported = passes::eliminate_dead_code(import_proto(model));
  for (const Node& node : imported.nodes()) EXPECT_NE(node.op->kind, OpKind::dynamic) << node.op->name;
  EXPECT_EQ(imported.type(imported.outputs()[0].value).shape, (Shape{kUnknown, 2, 1, 1}));
}

TEST(OnnxTensors, AnOrderThatIsComputedIsExported) {
  Model model = empty_model(18);
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {2, 3, 4});
  add_value(graph.mutable_input(), "axes", {1}, 7);
  auto& node = add_node(model, "ReduceSum", {"x", "axes"}, {"y"});
  set(node, "keepdims", std::int64_t{0});
  graph.add_output()->set_name("y");
  const Graph imported = import_proto(model);
  std::string bytes;
  onnx::export_model(imported, [&](std::span<const std::byte> piece) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  const Graph again = import_bytes(bytes);
  std::vector<float> values(24);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * i % 11);
  for (const std::int64_t axis : {0, 1, -1}) {
    const std::vector<HostTensor> operands = {floats({2, 3, 4}, values),
                                              tensor(DType::i64, {1}, std::vector<std::int64_t>{axis})};
    EXPECT_EQ(run(imported, operands)[0].bytes, run(again, operands)[0].bytes) << axis;
  }
}

// Two nodes without seeds draw other numbers, and each the same ones whenever the model is imported.
TEST(OnnxTensors, SeedsComeFromTheModel) {
  Model model = empty_model(22);
  auto& graph = *model.mutable_graph();
  for (const char* name : {"a", "b"}) {
    auto& node = add_node(model, "RandomUniform", {}, {name});
    set(node, "shape", std::vector<std::int64_t>{64});
    graph.add_output()->set_name(name);
  }
  const std::vector<HostTensor> once = run(import_proto(model), {}), again = run(import_proto(model), {});
  EXPECT_EQ(once[0].bytes, again[0].bytes);
  EXPECT_EQ(once[1].bytes, again[1].bytes);
  EXPECT_NE(once[0].bytes, once[1].bytes);
}

TEST(OnnxTensors, ANodeWithoutOutputsDrawsNothing) {
  Model model = empty_model(22);
  auto& node = add_node(model, "RandomNormal", {}, {});
  set(node, "shape", std::vector<std::int64_t>{64});
  EXPECT_EQ(message_of(model), "imported");
}

TEST(OnnxTensors, DropoutOfUnknownSizeIsRefusedOnlyWhereItDraws) {
  const auto message = [](bool trains) {
    Model model = empty_model(13);
    auto& graph = *model.mutable_graph();
    add_value(graph.mutable_input(), "x", {-1, 3});
    auto* flag = graph.add_initializer();
    flag->set_name("trains");
    flag->set_data_type(9);
    flag->add_int32_data(trains ? 1 : 0);
    add_node(model, "Dropout", {"x", "", "trains"}, {"y"});
    graph.add_output()->set_name("y");
    return message_of(model);
  };
  EXPECT_EQ(message(false), "imported");
  EXPECT_NE(message(true).find("Dropout of a shape [?, 3] that is not known"), std::string::npos) << message(true);
}

}  // namespace
}  // namespace ml
