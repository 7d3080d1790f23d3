// Functions that stand for rows of the graph: what is written for a row that ONNX has no operator for, and what the
// importer makes of a call.
#include <gtest/gtest.h>

#include <set>

#include "engine/formats/onnx/export.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/text.h"
#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;

Model exported(const Graph& graph, int opset = onnx::kExportOpset) {
  std::string bytes;
  const auto append = [&](std::span<const std::byte> piece) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  };
  onnx::export_model(graph, append, {.opset = opset});
  Model model;
  EXPECT_TRUE(model.ParseFromString(bytes));
  return model;
}

// The nodes but for constants.
std::string rows(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes()) {
    if (node.op->kind != OpKind::constant) text += (text.empty() ? "" : " ") + std::string(node.op->name);
  }
  return text;
}

TEST(OnnxRowFunctions, AreReadBackAsTheRowsThatTheyStandFor) {
  const char* const text = R"(graph main {
  input %0 x: f32[?n, 6]
  input %1 order: i64[2]
  input %2 places: i64[?m]
  input %3 updates: f32[?m, 6]
  input %4 columns: f32[?n, ?k]
  input %5 boxes: f32[2, ?b, 4]
  input %6 scores: f32[2, 3, ?b]
  input %7 limit: f32[]
  %8 = expm1(%0) : f32[?, 6]
  %9 = log1p(%8) : f32[?, 6]
  %10 = transpose_by(%9, %1) : f32[?, ?]
  %11 = scatter(%0, %2, %3) {axis = 0, reduction = 3} : f32[?, 6]
  %12 = scatter(%0, %2, %4) {axis = 1, reduction = 0} : f32[?, 6]
  %13, %14 = non_max_suppression(%5, %6, %7, %7) {most = 4} : i64[2, 3, ?], i64[2, 3]
  output a = %10
  output b = %11
  output c = %12
  output d = %13
  output e = %14
}
)";
  EXPECT_EQ(print(import_proto(exported(parse(text)))), text);
}

TEST(OnnxRowFunctions, StandForTransformsToo) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {3, kUnknown, 2});
  output("y", dft(x, true, true));
  const Graph again = import_proto(exported(graph));
  EXPECT_EQ(rows(again), "dft");
  EXPECT_TRUE(equal(*again.nodes()[0].attributes, *graph.nodes()[0].attributes));
}

// Bodies are made for operands and attributes, and the version of the file has functions.
TEST(OnnxRowFunctions, AreSharedByCallsThatAreAlike) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 3}), y = input(graph, "y", DType::f64, {2, 3});
  output("a", expm1(expm1(x)));
  output("b", expm1(y));
  const Model model = exported(graph, 13);
  EXPECT_EQ(model.ir_version(), 8);
  ASSERT_EQ(model.functions_size(), 2);
  std::string called;
  for (const auto& node : model.graph().node()) {
    EXPECT_EQ(node.domain(), "org.mlaccel");
    called += node.op_type() + " ";
  }
  EXPECT_EQ(called, "expm1.0 expm1.0 expm1.1 ");
  std::multiset<std::string> versions;
  for (const auto& set : model.opset_import()) versions.insert(set.domain() + " " + std::to_string(set.version()));
  EXPECT_EQ(versions, (std::multiset<std::string>{" 13", "org.mlaccel 1"}));
  for (const auto& function : model.functions()) EXPECT_EQ(function.opset_import(0).version(), 13);
  Graph plain;
  const Var z = input(plain, "x", DType::f32, {2});
  output("y", exp(z));
  EXPECT_EQ(exported(plain, 13).ir_version(), 7);
}

TEST(OnnxRowFunctions, AreCalledInBodiesOfControlFlow) {
  const Graph graph = parse(R"(graph main {
  input %0 c: bool[]
  input %1 x: f32[3]
  %2 = if(%0, %1) {then_body = graph a {
    input %0 x: f32[3]
    %1 = expm1(%0) : f32[3]
    output y = %1
  }, else_body = graph b {
    input %0 x: f32[3]
    %1 = log1p(%0) : f32[3]
    output y = %1
  }} : f32[3]
  output y = %2
})");
  const std::string again = print(import_proto(exported(graph)));
  EXPECT_NE(again.find("expm1"), std::string::npos) << again;
  EXPECT_NE(again.find("log1p"), std::string::npos) << again;
}

// y = org.mlaccel.<type>(x), a function whose body is a Neg.
Model call(const std::string& type, int version = 1) {
  Model model = small_model();
  auto& node = *model.mutable_graph()->mutable_node(0);
  node.set_domain("org.mlaccel");
  node.set_op_type(type);
  auto& set = *model.add_opset_import();
  set.set_domain("org.mlaccel");
  set.set_version(version);
  auto& function = *model.add_functions();
  function.set_domain("org.mlaccel");
  function.set_name(type);
  function.add_input("a");
  function.add_output("b");
  function.add_opset_import()->set_version(17);
  add_node(function, "Neg", {"a"}, {"b"});
  return model;
}

TEST(OnnxRowFunctions, AreWhatTheyAreCalledWhateverTheirBodySays) {
  EXPECT_EQ(rows(import_proto(call("expm1.0"))), "expm1");
  EXPECT_EQ(rows(import_proto(call("expm1"))), "expm1");
  EXPECT_EQ(rows(import_proto(call("expm1.what.ever"))), "expm1");
  Model without = call("log1p.3");
  without.clear_functions();
  EXPECT_EQ(rows(import_proto(without)), "log1p");
}

TEST(OnnxRowFunctions, ThatAreNoRowsOfThisVersionAreTheirBodies) {
  EXPECT_EQ(rows(import_proto(call("expm1.0", 2))), "neg");
  EXPECT_EQ(rows(import_proto(call("exp2.0"))), "neg");
  EXPECT_EQ(rows(import_proto(call("while.0"))), "neg");
  Model without = call("expm1.0", 2);
  without.clear_functions();
  EXPECT_EQ(message_of(without),
            "unsupported: operators that are not supported: expm1.0 (domain 'org.mlaccel', version 2) in #0");
}

TEST(OnnxRowFunctions, WithOperandsThatDoNotFitAreRefused) {
  EXPECT_EQ(message_of(call("transpose_by.0")), "invalid_argument: node 0 (transpose_by.0): input 1 is missing");
  Model model = call("scatter.0");
  auto& node = *model.mutable_graph()->mutable_node(0);
  node.add_input("x");
  node.add_input("x");
  EXPECT_EQ(message_of(model),
            "invalid_argument: node 0 (scatter.0): scatter: wants i32 or i64 indices, got f32[?, 3]");
  add_numbers(*model.mutable_graph(), "places", {0, 1});
  add_floats(*model.mutable_graph(), "updates", {1, 2, 3});
  node.set_input(1, "places");
  set(node, "axis", 7);
  EXPECT_EQ(message_of(model),
            "out_of_range: node 0 (scatter.0): scatter: axis 7 is outside of a tensor with 2 dimensions");
  node.mutable_attribute(0)->set_i(0);
  add_attribute(node, "reduction").set_s("median");
  EXPECT_EQ(message_of(model), "invalid_argument: node 0 (scatter.0): reduction 'median'");
}

}  // namespace
}  // namespace ml
