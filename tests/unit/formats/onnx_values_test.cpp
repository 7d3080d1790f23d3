// Sequences and optionals of ONNX models, which graphs hold as numbered tensors.
#include <gtest/gtest.h>

#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;

using Names = std::vector<std::string>;
Names input_names(const Graph& graph) {
  Names names;
  for (const GraphInput& input : graph.inputs()) names.push_back(input.name);
  return names;
}
Names output_names(const Graph& graph) {
  Names names;
  for (const GraphOutput& output : graph.outputs()) names.push_back(output.name);
  return names;
}

onnx::pb::Type::TensorType* add_sequence(google::protobuf::RepeatedPtrField<onnx::pb::ValueInfo>* list,
                                         const std::string& name, bool optional = false) {
  auto* info = list->Add();
  info->set_name(name);
  auto* type = info->mutable_type();
  if (optional) type = type->mutable_optional_type()->mutable_elem_type();
  auto* tensor = type->mutable_sequence_type()->mutable_elem_type()->mutable_tensor_type();
  tensor->set_elem_type(1);
  return tensor;
}

// s [a, b] with x inserted at `position`, or at the end.
Model inserting(const char* position) {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_sequence(graph.mutable_input(), "s");
  add_value(graph.mutable_input(), "x", {2});
  if (*position != 0) add_value(graph.mutable_input(), position, {}, 7);
  add_sequence(graph.mutable_output(), "t");
  add_node(graph, "SequenceInsert", {"s", "x", position}, {"t"});
  return model;
}

onnx::ImportOptions two_of(const Shape& a, const Shape& b) {
  onnx::ImportOptions options;
  options.forms["s"].shapes = {a, b};
  return options;
}

TEST(OnnxSequences, AreNumberedTensors) {
  const Graph graph = import_proto(inserting(""), two_of(Shape{2}, Shape{2}));
  EXPECT_EQ(input_names(graph), (Names{"s.0", "s.1", "x"}));
  EXPECT_EQ(output_names(graph), (Names{"t.0", "t.1", "t.2"}));
}

TEST(OnnxSequences, WantTheirLengthAndRank) {
  EXPECT_EQ(message_of(inserting("")),
            "unsupported: input 's': the model does not say how many tensors the sequence holds (say its form when the "
            "model is imported)");
  Model model = inserting("");
  add_value(model.mutable_graph()->mutable_input(), "q", {});
  model.mutable_graph()->mutable_input(2)->mutable_type()->mutable_tensor_type()->clear_shape();
  EXPECT_EQ(message_of(model, two_of(Shape{2}, Shape{2})),
            "unsupported: input 'q': the model does not say which rank it has (say its form when the model is "
            "imported)");
}

TEST(OnnxSequences, RefuseAFormThatContradictsTheModel) {
  onnx::ImportOptions options = two_of(Shape{2}, Shape{2});
  options.forms["x"].shapes = {Shape{3}};
  EXPECT_EQ(message_of(inserting(""), options), "invalid_argument: input 'x': its form says [3], the model [2]");
  options.forms["x"].shapes = {Shape{2}, Shape{2}};
  EXPECT_EQ(message_of(inserting(""), options),
            "invalid_argument: input 'x': it is a tensor, its form says 2 shapes ([2], [2])");
  options.forms.erase("x");
  options.forms["s"].present = false;
  EXPECT_EQ(message_of(inserting(""), options), "invalid_argument: input 's': it is a sequence, its form says nothing");
}

TEST(OnnxSequences, TakeATensorAtAPositionThatTheModelComputes) {
  for (const bool same : {true, false}) {
    const Shape b = same ? Shape{2} : Shape{3};
    const std::vector<float> second = same ? std::vector<float>{3, 4} : std::vector<float>{3, 4, 5};
    const Graph graph = import_proto(inserting("p"), two_of(Shape{2}, b));
    const auto at = [&](std::int64_t position) {
      std::vector<std::vector<float>> tensors;
      for (const HostTensor& result : run(graph, {floats(Shape{2}, {1, 2}), floats(b, second), floats(Shape{2}, {8, 9}),
                                                  tensor(DType::i64, {}, std::vector<std::int64_t>{position})}))
        tensors.push_back(floats_of(result));
      return tensors;
    };
    using Tensors = std::vector<std::vector<float>>;
    EXPECT_EQ(at(0), (Tensors{{8, 9}, {1, 2}, second})) << same;
    EXPECT_EQ(at(1), (Tensors{{1, 2}, {8, 9}, second})) << same;
    EXPECT_EQ(at(2), (Tensors{{1, 2}, second, {8, 9}})) << same;
    EXPECT_EQ(at(-1), (Tensors{{1, 2}, {8, 9}, second})) << same;
  }
}

TEST(OnnxSequences, LoseAndGiveTensorsAtPositionsThatTheModelComputes) {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_sequence(graph.mutable_input(), "s");
  add_value(graph.mutable_input(), "p", {}, 7);
  add_sequence(graph.mutable_output(), "rest");
  add_value(graph.mutable_output(), "taken", {-1});
  add_node(graph, "SequenceErase", {"s", "p"}, {"rest"});
  add_node(graph, "SequenceAt", {"s", "p"}, {"taken"});
  const Graph imported = import_proto(model, two_of(Shape{1}, Shape{2}));
  for (const std::int64_t position : {0, 1, -1, -2}) {
    const auto results = run(imported, {floats(Shape{1}, {1}), floats(Shape{2}, {2, 3}),
                                        tensor(DType::i64, {}, std::vector<std::int64_t>{position})});
    const bool first = position == 0 || position == -2;
    EXPECT_EQ(floats_of(results[0]), (first ? std::vector<float>{2, 3} : std::vector<float>{1})) << position;
    EXPECT_EQ(floats_of(results[1]), (first ? std::vector<float>{1} : std::vector<float>{2, 3})) << position;
  }
}

TEST(OnnxSequences, RefusePositionsOutside) {
  Model model = inserting("p");
  onnx::ImportOptions options = two_of(Shape{2}, Shape{2});
  const std::int64_t position = 3;
  options.values["p"] = make_constant(DType::i64, {}, std::as_bytes(std::span(&position, 1)));
  EXPECT_EQ(message_of(model, options),
            "invalid_argument: node 0 (SequenceInsert): position 3 to insert at in a sequence of 2");
}

TEST(OnnxSequences, HaveALengthThatIsKnown) {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {6});
  add_value(graph.mutable_input(), "size", {}, 7);
  add_value(graph.mutable_output(), "n", {}, 7);
  add_node(graph, "SplitToSequence", {"x", "size"}, {"s"});
  add_node(graph, "SequenceLength", {"s"}, {"n"});
  EXPECT_EQ(message_of(model, {}),
            "unsupported: node 0 (SplitToSequence): the size of a part decides how many tensors a sequence holds, and "
            "is not known (give the value of what it depends on when the model is imported)");
  const std::int64_t size = 4;
  onnx::ImportOptions options;
  options.values["size"] = make_constant(DType::i64, {}, std::as_bytes(std::span(&size, 1)));
  const auto n = run(import_proto(model, options), {floats(Shape{6}, {1, 2, 3, 4, 5, 6})});
  EXPECT_EQ(n[0].bytes[0], std::byte{2});
}

TEST(OnnxSequences, CannotGrowAModelWithoutLimit) {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {60000});
  add_value(graph.mutable_output(), "n", {}, 7);
  add_node(graph, "SplitToSequence", {"x"}, {"s"});
  for (int i = 0; i < 10; ++i) {
    const std::string name = "s" + std::to_string(i);
    add_node(graph, "SplitToSequence", {"x"}, {name.c_str()});
  }
  add_node(graph, "SequenceLength", {"s"}, {"n"});
  EXPECT_NE(message_of(model, {}).find("more nodes than its file may ask for"), std::string::npos);
}

// o = c ? nothing : [x]
Model maybe() {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "c", {}, 9);
  add_value(graph.mutable_input(), "x", {2});
  add_sequence(graph.mutable_output(), "o", true);
  auto& node = add_node(graph, "If", {"c"}, {"o"});
  auto& on_true = *add_attribute(node, "then_branch").mutable_g();
  add_node(on_true, "Optional", {}, {"nothing"});
  on_true.add_output()->set_name("nothing");
  auto& on_false = *add_attribute(node, "else_branch").mutable_g();
  add_node(on_false, "SequenceConstruct", {"x"}, {"s"});
  add_node(on_false, "Optional", {"s"}, {"something"});
  on_false.add_output()->set_name("something");
  return model;
}

TEST(OnnxOptionals, MayBeDecidedWhileTheModelRuns) {
  const Graph graph = import_proto(maybe());
  EXPECT_EQ(output_names(graph), (Names{"o.present", "o.0"}));
  const HostTensor x = floats(Shape{2}, {1, 2});
  const auto with = run(graph, {truth(false), x}), without = run(graph, {truth(true), x});
  EXPECT_EQ(with[0].bytes[0], std::byte{1});
  EXPECT_EQ(floats_of(with[1]), (std::vector<float>{1, 2}));
  EXPECT_EQ(without[0].bytes[0], std::byte{0});
}

TEST(OnnxOptionals, ThatAreKnownToBeEmptyHaveNoContent) {
  onnx::ImportOptions options;
  const std::uint8_t yes = 1;
  options.values["c"] = make_constant(DType::boolean, {}, std::as_bytes(std::span(&yes, 1)));
  EXPECT_EQ(output_names(import_proto(maybe(), options)), (Names{"o.present"}));
}

TEST(OnnxImport, WantsValuesOfTheDeclaredType) {
  onnx::ImportOptions options;
  const std::int64_t yes = 1;
  options.values["c"] = make_constant(DType::i64, {}, std::as_bytes(std::span(&yes, 1)));
  EXPECT_EQ(message_of(maybe(), options), "invalid_argument: input 'c': its value is i64[], the model wants bool[]");
  options.values = {{"x", make_splat(DType::f32, Shape{3}, 1)}};
  EXPECT_EQ(message_of(maybe(), options), "invalid_argument: input 'x': its value is f32[3], the model wants f32[2]");
  options.values = {{"x", make_splat(DType::f32, Shape{1, 3}, 1)}};
  EXPECT_EQ(message_of(small_model(), options), "imported") << "any number of rows";
}

TEST(OnnxImport, NamesAnInputThatIsNotThereAndThoseThatAre) {
  Model model = maybe();
  add_value(model.mutable_graph()->mutable_input(), "w", {2});
  add_floats(*model.mutable_graph(), "w", {1, 2});
  onnx::ImportOptions options;
  options.forms["w"].shapes = {Shape{2}};  // the model says its value
  EXPECT_EQ(message_of(model, options), "invalid_argument: the model has no input 'w' (its inputs are 'c', 'x')");
  options.forms.clear();
  options.values["cc"] = make_splat(DType::boolean, {}, 1);
  EXPECT_EQ(message_of(model, options), "invalid_argument: the model has no input 'cc' (its inputs are 'c', 'x')");
  model.mutable_graph()->clear_input();
  EXPECT_EQ(message_of(model, options), "invalid_argument: the model has no input 'cc' (its inputs are none)");
}

}  // namespace
}  // namespace ml
