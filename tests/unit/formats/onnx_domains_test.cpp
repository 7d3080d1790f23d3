// Other domains than ONNX's first one: trees, gradients, and operators that an application registers.
#include <gtest/gtest.h>

#include "engine/formats/onnx/register.h"
#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;

onnx::pb::Node& add_domain_node(Model& model, const std::string& domain, int version, const std::string& type,
                                std::initializer_list<const char*> inputs, std::initializer_list<const char*> outputs) {
  auto* set = model.add_opset_import();
  set->set_domain(domain);
  set->set_version(version);
  auto& node = add_node(model, type, inputs, outputs);
  node.set_domain(domain);
  return node;
}

template <class T>
void set_tensor(onnx::pb::Node& node, const std::string& name, int type, const std::vector<T>& values) {
  auto& tensor = *add_attribute(node, name).mutable_t();
  tensor.set_data_type(type);
  tensor.add_dims(static_cast<std::int64_t>(values.size()));
  tensor.set_raw_data(values.data(), values.size() * sizeof(T));
}

// Two nodes and three leaves: x0 <= 0 ? 10 : (x0 <= 1 ? 20 : 30).
Model forest(const std::vector<std::int64_t>& on_false = {1, 2}, const std::vector<std::int64_t>& false_leafs = {0, 1},
             const std::vector<std::int64_t>& features = {0, 0}) {
  Model model = empty_model();
  add_value(model.mutable_graph()->mutable_input(), "x", {-1, 2});
  add_value(model.mutable_graph()->mutable_output(), "y", {-1, 1});
  auto& node = add_domain_node(model, "ai.onnx.ml", 5, "TreeEnsemble", {"x"}, {"y"});
  using Ids = std::vector<std::int64_t>;
  set(node, "n_targets", 1);
  set(node, "tree_roots", Ids{0});
  set(node, "nodes_featureids", features);
  set(node, "nodes_truenodeids", Ids{0, 1});
  set(node, "nodes_trueleafs", Ids{1, 1});
  set(node, "nodes_falsenodeids", on_false);
  set(node, "nodes_falseleafs", false_leafs);
  set(node, "leaf_targetids", Ids{0, 0, 0});
  set_tensor(node, "nodes_splits", 1, std::vector<float>{0, 1});
  set_tensor(node, "nodes_modes", 2, std::vector<std::uint8_t>{0, 0});
  set_tensor(node, "leaf_weights", 1, std::vector<float>{10, 20, 30});
  return model;
}

TEST(OnnxTrees, TakeAnyNumberOfExamples) {
  const Graph graph = import_proto(forest());
  const auto y = [&](const std::vector<float>& x) {
    return floats_of(run(graph, {floats(Shape{static_cast<std::int64_t>(x.size()) / 2, 2}, x)})[0]);
  };
  EXPECT_EQ(y({-1, 0, 0.5F, 0, 7, 0}), (std::vector<float>{10, 20, 30}));
  EXPECT_EQ(y({1, 9}), (std::vector<float>{20}));
}

TEST(OnnxTrees, ThatLeadNowhereOrBackAreRefused) {
  EXPECT_EQ(message_of(forest({0, 2})), "invalid_argument: node 0 (TreeEnsemble): node 0 leads back to node 0");
  EXPECT_EQ(message_of(forest({1, 0}, {0, 0})), "invalid_argument: node 0 (TreeEnsemble): node 1 leads back to node 0");
  EXPECT_EQ(message_of(forest({1, 3})), "invalid_argument: node 0 (TreeEnsemble): a child 3 of 3 leaves");
  EXPECT_EQ(message_of(forest({2, 2})), "invalid_argument: node 0 (TreeEnsemble): a child 2 of 2 nodes");
  EXPECT_EQ(message_of(forest({1, 2}, {0})),
            "invalid_argument: node 0 (TreeEnsemble): nodes_falseleafs has 1 entries, 2 are needed");
}

// d = (a + b) * a, and its gradient where a and b have other names and values.
Model gradient(const char* a, const char* b) {
  Model model = empty_model(12);
  auto& graph = *model.mutable_graph();
  for (const char* name : {"a", "b", "p", "q"}) add_value(graph.mutable_input(), name, {2});
  for (const char* name : {"da", "db"}) add_value(graph.mutable_output(), name, {2});
  // It stands before what it differentiates.
  auto& node = add_domain_node(model, "ai.onnx.preview.training", 1, "Gradient", {a, b}, {"da", "db"});
  auto& xs = add_attribute(node, "xs");
  xs.add_strings("a");
  xs.add_strings("b");
  add_attribute(node, "y").set_s("d");
  add_node(graph, "Mul", {"c", "a"}, {"d"});
  add_node(graph, "Add", {"a", "b"}, {"c"});
  return model;
}

TEST(OnnxTraining, GradientsAreTakenWhereTheInputsSay) {
  const std::vector<HostTensor> inputs{floats(Shape{2}, {1, 2}), floats(Shape{2}, {3, 4}), floats(Shape{2}, {5, 6}),
                                       floats(Shape{2}, {7, 8})};
  const auto here = run(import_proto(gradient("a", "b")), inputs),
             there = run(import_proto(gradient("p", "q")), inputs);
  EXPECT_EQ(floats_of(here[0]), (std::vector<float>{5, 8})) << "2 a + b";
  EXPECT_EQ(floats_of(here[1]), (std::vector<float>{1, 2})) << "a";
  EXPECT_EQ(floats_of(there[0]), (std::vector<float>{17, 20})) << "2 p + q";
  EXPECT_EQ(floats_of(there[1]), (std::vector<float>{5, 6})) << "p";
}

// What docs/onnx.md shows.
TEST(OnnxOperators, CanBeRegistered) {
  Model model = small_model();
  model.mutable_graph()->clear_node();
  auto& node = add_domain_node(model, "com.example", 2, "ScaledAdd", {"x", "x"}, {"y"});
  add_attribute(node, "scale").set_f(3);
  EXPECT_EQ(message_of(model),
            "unsupported: operators that are not supported: ScaledAdd (domain 'com.example', version 2) in #0 (give a "
            "file whose functions say what they mean)");

  onnx::register_operator("com.example", "ScaledAdd", 1, 2, [](const onnx::NodeContext& n) -> std::vector<Var> {
    return {n.in(0) + n.in(1) * n.number("scale", 1)};
  });
  EXPECT_EQ(floats_of(run(import_proto(model), {floats(Shape{1, 3}, {1, 2, 3})})[0]), (std::vector<float>{4, 8, 12}));
  model.mutable_opset_import(1)->set_version(3);
  EXPECT_EQ(message_of(model),
            "unsupported: operators that are not supported: ScaledAdd (domain 'com.example', version 3) in #0 (give a "
            "file whose functions say what they mean)");
  model.mutable_opset_import(1)->set_version(1);
  model.mutable_graph()->mutable_node(0)->mutable_input()->RemoveLast();
  EXPECT_EQ(message_of(model), "invalid_argument: node 0 (ScaledAdd): input 1 is missing");
}

TEST(OnnxOperators, AreRegisteredOnceAndInOtherDomainsThanOnnxs) {
  const auto import = [](const onnx::NodeContext& n) -> std::vector<Var> { return {n.in(0)}; };
  const auto message = [&](const char* domain, int since, int until) -> std::string {
    try {
      onnx::register_operator(domain, "Twice", since, until, import);
    } catch (const Error& error) {
      return error.what();
    }
    return "registered";
  };
  EXPECT_EQ(message("org.example", 1, 3), "registered");
  EXPECT_EQ(message("org.example", 4, 4), "registered");
  EXPECT_EQ(message("org.example", 3, 9), "operator 'org.example.Twice': versions 1 to 3 are registered already");
  EXPECT_EQ(message("ai.onnx.ml", 1, 1),
            "operator 'ai.onnx.ml.Twice': the domain 'ai.onnx.ml' is ONNX's or this engine's own (register in another "
            "domain)");
  EXPECT_EQ(message("org.mlaccel", 1, 1),
            "operator 'org.mlaccel.Twice': the domain 'org.mlaccel' is ONNX's or this engine's own (register in "
            "another domain)");
  EXPECT_EQ(message("org.example", 2, 1),
            "operator 'org.example.Twice': versions 2 to 1, a type and a function are needed");
}

}  // namespace
}  // namespace ml
