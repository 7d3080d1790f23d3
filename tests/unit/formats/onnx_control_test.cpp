// If, Loop, Scan and functions of ONNX models: scopes, captures, limits.
#include <gtest/gtest.h>

#include "engine/graph/ops/control.h"
#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;
using onnx::pb::Function;

onnx::pb::Graph& add_graph(onnx::pb::Node& node, const std::string& name) {
  onnx::pb::Graph& graph = *add_attribute(node, name).mutable_g();
  graph.set_name(name);
  return graph;
}
void add_output(onnx::pb::Graph& graph, const std::string& name) { graph.add_output()->set_name(name); }
void add_input(onnx::pb::Graph& graph, const std::string& name) { graph.add_input()->set_name(name); }

// y = c ? (d ? x * x : x + w) : neg(x), with everything taken from the outermost graph.
Model nested_branches() {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "c", {}, 9);
  add_value(graph.mutable_input(), "d", {}, 9);
  add_value(graph.mutable_input(), "x", {3});
  add_value(graph.mutable_output(), "y", {3});
  add_floats(graph, "w", {10, 20, 30});
  auto& outer = add_node(graph, "If", {"c"}, {"y"});
  auto& on_true = add_graph(outer, "then_branch");
  auto& inner = add_node(on_true, "If", {"d"}, {"r"});
  add_output(on_true, "r");
  auto& square = add_graph(inner, "then_branch");
  add_node(square, "Mul", {"x", "x"}, {"s"});
  add_output(square, "s");
  auto& sum = add_graph(inner, "else_branch");
  add_node(sum, "Add", {"x", "w"}, {"s"});
  add_output(sum, "s");
  auto& on_false = add_graph(outer, "else_branch");
  add_node(on_false, "Neg", {"x"}, {"n"});
  add_output(on_false, "n");
  return model;
}

TEST(OnnxControl, BranchesCaptureWhatLiesTwoLevelsUp) {
  const Graph graph = import_proto(nested_branches());
  const HostTensor x = floats(Shape{3}, {1, 2, 3});
  const auto y = [&](bool c, bool d) { return floats_of(run(graph, {truth(c), truth(d), x})[0]); };
  EXPECT_EQ(y(true, true), (std::vector<float>{1, 4, 9}));
  EXPECT_EQ(y(true, false), (std::vector<float>{11, 22, 33}));
  EXPECT_EQ(y(false, true), (std::vector<float>{-1, -2, -3}));
}

TEST(OnnxControl, ABranchTakesNothingThatItDoesNotUse) {
  Model model = nested_branches();
  const Graph graph = import_proto(model);
  ASSERT_EQ(graph.nodes().back().op->name, "if");
  EXPECT_EQ(graph.nodes().back().inputs.size(), 3U) << "c, d and x; w is a constant inside";
}

TEST(OnnxControl, AKnownConditionTakesItsBranchAlone) {
  Model model = nested_branches();
  auto& graph = *model.mutable_graph();
  graph.mutable_input()->DeleteSubrange(0, 1);
  auto* c = graph.add_initializer();
  c->set_name("c");
  c->set_data_type(9);
  c->add_int32_data(0);
  const Graph imported = import_proto(model);
  for (const Node& node : imported.nodes()) EXPECT_NE(node.op->name, "if");
}

TEST(OnnxControl, BranchesOfOtherKindsAreRefusedWhileTheConditionIsUnknown) {
  Model model = nested_branches();
  auto* branch = model.mutable_graph()->mutable_node(0)->mutable_attribute(1)->mutable_g();
  branch->clear_node();
  add_node(*branch, "Shape", {"x"}, {"n"});
  EXPECT_EQ(message_of(model),
            "unsupported: node 0 (If): output 0 is a tensor f32[3] in one branch and a tensor i64[1] in the other, and "
            "the condition is not known (give the value of what it depends on when the model is imported)");
}

TEST(OnnxControl, BranchesOfOtherExtentsGiveAnUnknownOne) {
  Model model = nested_branches();
  auto* branch = model.mutable_graph()->mutable_node(0)->mutable_attribute(1)->mutable_g();
  branch->clear_node();
  add_node(*branch, "Concat", {"x", "x"}, {"n"}).add_attribute()->set_name("axis");
  branch->mutable_node(0)->mutable_attribute(0)->set_i(0);
  const Graph graph = import_proto(model);
  EXPECT_EQ(graph.type(graph.outputs()[0].value).shape, Shape{kUnknown});
}

// A local name hides the outer one, and nodes outside may stand behind the node whose body uses them.
TEST(OnnxControl, NamesInsideHideThoseOutsideAndOrderDoesNotMatter) {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "c", {}, 9);
  add_value(graph.mutable_input(), "x", {2});
  add_value(graph.mutable_output(), "y", {2});
  auto& node = add_node(graph, "If", {"c"}, {"y"});
  auto& on_true = add_graph(node, "then_branch");
  add_node(on_true, "Neg", {"x"}, {"later"});
  add_output(on_true, "later");
  auto& on_false = add_graph(node, "else_branch");
  add_node(on_false, "Identity", {"later"}, {"r"});
  add_output(on_false, "r");
  add_node(graph, "Add", {"x", "x"}, {"later"});
  const Graph imported = import_proto(model);
  const HostTensor x = floats(Shape{2}, {1, 2});
  EXPECT_EQ(floats_of(run(imported, {truth(true), x})[0]), (std::vector<float>{-1, -2}));
  EXPECT_EQ(floats_of(run(imported, {truth(false), x})[0]), (std::vector<float>{2, 4}));
}

// Doubles x while its sum is below `limit`, at most 10 times, and stacks what it had.
Model doubling(bool bounded) {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {2});
  add_value(graph.mutable_input(), "limit", {});
  add_value(graph.mutable_output(), "last", {2});
  add_node(graph, "ReduceSum", {"x"}, {"sum"}).add_attribute()->set_name("keepdims");
  add_node(graph, "Less", {"sum", "limit"}, {"goes_on"});
  add_numbers(graph, "trips", {10}, true);
  auto& loop = add_node(graph, "Loop", {bounded ? "trips" : "", "goes_on", "x"}, {"last"});
  auto& body = add_graph(loop, "body");
  for (const char* name : {"i", "again", "v"}) add_input(body, name);
  add_node(body, "Add", {"v", "v"}, {"twice"});
  add_node(body, "ReduceSum", {"twice"}, {"total"}).add_attribute()->set_name("keepdims");
  body.mutable_node(1)->mutable_attribute(0)->set_i(0);
  graph.mutable_node(0)->mutable_attribute(0)->set_i(0);
  add_node(body, "Less", {"total", "limit"}, {"more"});
  add_output(body, "more");
  add_output(body, "twice");
  return model;
}

TEST(OnnxControl, ALoopEndsWhenItsConditionSaysSo) {
  for (const bool bounded : {true, false}) {
    const Graph graph = import_proto(doubling(bounded));
    const auto last = [&](float limit) {
      return floats_of(run(graph, {floats(Shape{2}, {1, 2}), floats({}, {limit})})[0]);
    };
    EXPECT_EQ(last(20), (std::vector<float>{8, 16})) << bounded;
    EXPECT_EQ(last(3), (std::vector<float>{1, 2})) << bounded;
    if (bounded) {
      EXPECT_EQ(last(1e9), (std::vector<float>{1024, 2048}));
    }
  }
}

// x + 1 + ... + 1, `trips` times; stacks every sum.
Model counting(std::int64_t trips) {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {2});
  add_value(graph.mutable_output(), "last", {2});
  add_value(graph.mutable_output(), "all", {0, 2});
  add_numbers(graph, "trips", {trips}, true);
  add_floats(graph, "one", {1});
  auto& loop = add_node(graph, "Loop", {"trips", "", "x"}, {"last", "all"});
  auto& body = add_graph(loop, "body");
  for (const char* name : {"i", "again", "v"}) add_input(body, name);
  add_node(body, "Add", {"v", "one"}, {"next"});
  for (const char* name : {"again", "next", "next"}) add_output(body, name);
  return model;
}

TEST(OnnxControl, ALoopOfKnownLengthIsAScan) {
  const Graph graph = import_proto(counting(3));
  EXPECT_EQ(graph.type(graph.outputs()[1].value).shape, (Shape{3, 2}));
  const auto results = run(graph, {floats(Shape{2}, {1, 2})});
  EXPECT_EQ(floats_of(results[0]), (std::vector<float>{4, 5}));
  EXPECT_EQ(floats_of(results[1]), (std::vector<float>{2, 3, 3, 4, 4, 5}));
}

TEST(OnnxControl, ALoopWithoutATurnStacksNothing) {
  for (const std::int64_t trips : {0, -5}) {
    const Graph graph = import_proto(counting(trips));
    EXPECT_EQ(graph.type(graph.outputs()[1].value).shape, (Shape{0, 2}));
    EXPECT_EQ(floats_of(run(graph, {floats(Shape{2}, {1, 2})})[0]), (std::vector<float>{1, 2}));
  }
}

TEST(OnnxControl, ALoopThatNeverEndsIsRefused) {
  Model model = counting(3);
  model.mutable_graph()->mutable_node(0)->set_input(0, "");
  EXPECT_EQ(message_of(model),
            "invalid_argument: node 0 (Loop): it never ends: it has no trip count and its condition stays true");
}

TEST(OnnxControl, AHugeTripCountCostsNothingToImport) {
  const Graph graph = import_proto(counting(std::int64_t{1} << 39));
  EXPECT_LT(graph.nodes().size(), 20U);
}

TEST(OnnxControl, ScansAlongAnyAxisInAnyDirection) {
  Model model = empty_model();
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {2, 3});
  add_value(graph.mutable_output(), "last", {2});
  add_value(graph.mutable_output(), "all", {2, 3});
  add_floats(graph, "zero", {0, 0});
  auto& scan = add_node(graph, "Scan", {"zero", "x"}, {"last", "all"});
  set(scan, "num_scan_inputs", 1);
  set(scan, "scan_input_axes", std::vector<std::int64_t>{-1});
  set(scan, "scan_input_directions", std::vector<std::int64_t>{1});
  set(scan, "scan_output_axes", std::vector<std::int64_t>{1});
  set(scan, "scan_output_directions", std::vector<std::int64_t>{1});
  auto& body = add_graph(scan, "body");
  for (const char* name : {"sum", "slice"}) add_input(body, name);
  add_node(body, "Add", {"sum", "slice"}, {"next"});
  for (const char* name : {"next", "next"}) add_output(body, name);
  const auto results = run(import_proto(model), {floats(Shape{2, 3}, {1, 2, 3, 10, 20, 30})});
  EXPECT_EQ(floats_of(results[0]), (std::vector<float>{6, 60}));
  EXPECT_EQ(floats_of(results[1]), (std::vector<float>{6, 5, 3, 60, 50, 30}));
}

TEST(OnnxControl, ScansOfABatchStopWhereTheirSequencesEnd) {
  for (const bool backwards : {false, true}) {
    Model model = empty_model(8);
    auto& graph = *model.mutable_graph();
    add_value(graph.mutable_input(), "zero", {2, 1});
    add_value(graph.mutable_input(), "x", {2, 3, 1});
    add_value(graph.mutable_output(), "last", {2, 1});
    add_value(graph.mutable_output(), "all", {2, 3, 1});
    add_numbers(graph, "lengths", {2, 3});
    auto& scan = add_node(graph, "Scan", {"lengths", "zero", "x"}, {"last", "all"});
    set(scan, "num_scan_inputs", 1);
    set(scan, "directions", std::vector<std::int64_t>{backwards ? 1 : 0});
    auto& body = add_graph(scan, "body");
    for (const char* name : {"sum", "slice"}) add_input(body, name);
    add_node(body, "Add", {"sum", "slice"}, {"next"});
    for (const char* name : {"next", "next"}) add_output(body, name);
    const auto results =
        run(import_proto(model), {floats(Shape{2, 1}, {0, 100}), floats(Shape{2, 3, 1}, {1, 2, 3, 4, 5, 6})});
    EXPECT_EQ(floats_of(results[0]), (std::vector<float>{3, 115}));
    EXPECT_EQ(floats_of(results[1]),
              (backwards ? std::vector<float>{2, 3, 0, 106, 111, 115} : std::vector<float>{1, 3, 0, 104, 109, 115}));
  }
}

std::string message_on_its_own(const Model& model) { return message_of(model); }
// The message where the functions are not the model's own but a library's.
std::string message_with_library(const Model& model) {
  Model without = model, library;
  library.mutable_functions()->Swap(without.mutable_functions());
  library.mutable_doc_string()->swap(*without.mutable_doc_string());
  onnx::ImportOptions options;
  options.functions = {{"library.onnx", blob_of(library.SerializeAsString())}};
  return message_of(without, options);
}
// The message that it is in both cases.
std::string refusal_of(const Model& model) {
  const std::string own = message_on_its_own(model);
  EXPECT_EQ(message_with_library(model), own);
  return own;
}

// y = f(f(x)) where f(v) = leaky_relu(v, slope) + v; the slope is an attribute of the call, with a default.
Model functions() {
  Model model = small_model();
  auto* set = model.add_opset_import();
  set->set_domain("local");
  set->set_version(1);
  auto& graph = *model.mutable_graph();
  graph.clear_node();
  add_node(graph, "Outer", {"x"}, {"h"}).set_domain("local");
  auto& second = add_node(graph, "Outer", {"h"}, {"y"});
  second.set_domain("local");
  add_attribute(second, "slope").set_f(0.25F);
  Function& outer = add_function(model, "Outer", {"v"}, {"sum"});
  auto* with_default = outer.add_attribute_proto();
  with_default->set_name("slope");
  with_default->set_f(0.5F);
  auto& call = add_node(outer, "Inner", {"v"}, {"bent"});
  call.set_domain("local");
  auto& passed = add_attribute(call, "a");
  passed.set_ref_attr_name("slope");
  add_node(outer, "Add", {"bent", "v"}, {"sum"});
  Function& inner = add_function(model, "Inner", {"v"}, {"r"});
  inner.add_attribute("a");
  auto& relu = add_node(inner, "LeakyRelu", {"v"}, {"r"});
  add_attribute(relu, "alpha").set_ref_attr_name("a");
  return model;
}

TEST(OnnxFunctions, AreWrittenOutWithTheAttributesOfTheCall) {
  const auto y = run(import_proto(functions()), {floats(Shape{1, 3}, {-4, 0, 1})});
  EXPECT_EQ(floats_of(y[0]), (std::vector<float>{-7.5, 0, 4})) << "-4 - 2 = -6, -6 - 1.5 = -7.5";
}

TEST(OnnxFunctions, ThatCallThemselvesAreRefused) {
  Model model = functions();
  add_node(*model.mutable_functions(1), "Outer", {"v"}, {"q"}).set_domain("local");
  EXPECT_EQ(refusal_of(model), "corrupt: function 'local.Inner', #1: the function 'local.Outer' calls itself");
}

TEST(OnnxFunctions, DoNotSeeTheNamesOfTheirCaller) {
  Model model = functions();
  model.mutable_functions(1)->mutable_node(0)->set_input(0, "x");
  EXPECT_EQ(refusal_of(model),
            "corrupt: node 0 (Outer): node 0 (Inner): node 0 (LeakyRelu): 'x' is used but never defined");
}

TEST(OnnxFunctions, WantTheAttributesThatHaveNoDefault) {
  Model model = functions();
  model.mutable_functions(0)->mutable_node(0)->clear_attribute();
  EXPECT_EQ(refusal_of(model), "invalid_argument: node 0 (Outer): node 0 (Inner): attribute 'a' is missing");
}

TEST(OnnxFunctions, NeedOperatorsTooAndSayWhere) {
  Model model = functions();
  model.mutable_functions(1)->mutable_node(0)->set_op_type("Frobnicate");
  EXPECT_EQ(refusal_of(model),
            "unsupported: operators that are not supported: Frobnicate (domain 'ai.onnx', version 17) in function "
            "'local.Inner', #0");
}

// x through 2^depth nodes, by functions that each call another twice.
Model branching(int depth) {
  Model model = small_model();
  auto& graph = *model.mutable_graph();
  graph.mutable_node(0)->set_op_type("f0");
  graph.mutable_node(0)->set_domain("local");
  auto* set = model.add_opset_import();
  set->set_domain("local");
  set->set_version(1);
  for (int i = 0; i < depth; ++i) {
    Function& function = add_function(model, "f" + std::to_string(i), {"a"}, {"c"});
    const std::string next = i + 1 < depth ? "f" + std::to_string(i + 1) : "Neg";
    for (auto* node : {&add_node(function, next, {"a"}, {"b"}), &add_node(function, next, {"b"}, {"c"})})
      node->set_domain(i + 1 < depth ? "local" : "");
  }
  return model;
}

TEST(OnnxFunctions, CannotGrowAModelWithoutLimit) {
  for (const auto message : {&message_on_its_own, &message_with_library}) {
    const std::string limit = "the model has more nodes than its file may ask for";
    EXPECT_NE(message(branching(40)).find(limit), std::string::npos);
    // 2^16 nodes and the calls that lead to them: less than a large file may ask for, more than a small one.
    Model model = branching(16);
    EXPECT_NE(message(model).find(limit), std::string::npos);
    model.set_doc_string(std::string(std::size_t{1} << 20, ' '));
    EXPECT_EQ(message(model), "imported");
  }
}

}  // namespace
}  // namespace ml
