// The ONNX importer and exporter on models made here: what is kept, what is refused and how, and what hostile files do.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <set>
#include <sstream>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/node.h"
#include "engine/formats/onnx/value_operators.h"
#include "engine/formats/onnx/wire.h"
#include "engine/graph/build.h"
#include "engine/graph/build_nn.h"
#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;

std::string export_bytes(const Graph& graph) {
  std::string bytes;
  onnx::export_model(graph, [&](std::span<const std::byte> piece) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return bytes;
}

// A classifier with a weight that is large enough to stay in the file.
Graph classifier() {
  Graph graph;
  const Var x{&graph, graph.add_input("x", {DType::f32, Shape{kUnknown, 1, 8, 8}}, {"N", "", "", ""})};
  std::vector<float> weights(64 * 16);
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = static_cast<float>(static_cast<int>(i * 37 % 101) - 50) / 50;
  const Var w = constant(graph, make_constant(DType::f32, Shape{64, 16}, std::as_bytes(std::span(weights))));
  const Var kernel =
      constant(graph, make_constant(DType::f32, Shape{1, 1, 3, 3}, std::as_bytes(std::span(weights).first(9))));
  Windows windows = Windows::unit(2);
  windows.pad_low = windows.pad_high = {1, 1};
  const Var features = relu(convolution(x, kernel, {}, windows));
  output("scores", silu(matmul(reshape(features, Shape{kUnknown, 64}), w)));
  return graph;
}

TEST(OnnxImport, KeepsNamesAndSymbols) {
  const Graph graph = import_proto(small_model());
  ASSERT_EQ(graph.inputs().size(), 1u);
  EXPECT_EQ(graph.inputs()[0].name, "x");
  EXPECT_EQ(graph.inputs()[0].symbols, (std::vector<std::string>{"N", ""}));
  EXPECT_EQ(graph.type(graph.inputs()[0].value).shape, (Shape{kUnknown, 3}));
  EXPECT_EQ(graph.outputs()[0].name, "y");
}

TEST(OnnxImport, NamesEverythingThatIsMissingAtOnce) {
  Model model = small_model();
  add_node(model, "Frobnicate", {"x"}, {"a"}, "first");
  add_node(model, "Defrobnicate", {"x"}, {"b"}, "second");
  add_node(model, "Frobnicate", {"x"}, {"c"});
  EXPECT_EQ(message_of(model),
            "unsupported: operators that are not supported: Defrobnicate (domain 'ai.onnx', version 17) in 'second'; "
            "Frobnicate (domain "
            "'ai.onnx', version 17) in 'first', #3");
}

TEST(OnnxImport, RefusesOtherDomainsByName) {
  Model model = small_model();
  model.mutable_graph()->mutable_node(0)->set_domain("com.example");
  EXPECT_EQ(message_of(model),
            "unsupported: operators that are not supported: Relu (domain 'com.example', which the model declares no "
            "version of) in #0 (give a file whose functions say what they mean)");
}

TEST(OnnxImport, SaysWhatIsWrongWithAModel) {
  struct Case {
    const char* what;
    void (*change)(Model&);
    const char* message;
  };
  const Case cases[] = {
      {"no graph", [](Model& m) { m.clear_graph(); }, "corrupt: the model has no graph (is this an ONNX file?)"},
      {"old opset", [](Model& m) { m.mutable_opset_import(0)->set_version(0); },
       "unsupported: operator set 0 is not supported (convert the model to operator set 1 to 27)"},
      {"new opset", [](Model& m) { m.mutable_opset_import(0)->set_version(28); },
       "unsupported: operator set 28 is not supported (convert the model to operator set 1 to 27)"},
      {"undefined value", [](Model& m) { m.mutable_graph()->mutable_node(0)->set_input(0, "z"); },
       "corrupt: node 0 (Relu): 'z' is used but never defined"},
      {"duplicate name", [](Model& m) { add_node(m, "Neg", {"x"}, {"y"}); },
       "corrupt: the name 'y' is defined twice: by node 0 (Relu) and by node 1 (Neg)"},
      {"missing output", [](Model& m) { m.mutable_graph()->mutable_output(0)->set_name("q"); },
       "corrupt: output: 'q' is used but never defined"},
      {"strings",
       [](Model& m) { m.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(8); },
       "unsupported: input 'x': ONNX element type string is not supported"},
      {"cycle",
       [](Model& m) {
         m.mutable_graph()->mutable_node(0)->set_input(0, "b");
         add_node(m, "Neg", {"y"}, {"b"});
       },
       "corrupt: node 0 (Relu): the graph has a cycle"},
      {"an input beyond memory",  // whose extents an operator would multiply
       [](Model& m) {
         add_value(m.mutable_graph()->mutable_input(), "w", {4, 1, 4});
         auto& shape = *m.mutable_graph()->mutable_input(1)->mutable_type()->mutable_tensor_type()->mutable_shape();
         shape.mutable_dim(1)->set_dim_value(std::numeric_limits<std::int64_t>::max());
         add_node(m, "Flatten", {"w"}, {"z"});
       },
       "invalid_argument: input 'w': f32[4, 9223372036854775807, 4] is larger than 2^48 bytes"},
      {"a result beyond memory, of a node behind which another multiplies its extents",
       [](Model& m) {
         add_numbers(*m.mutable_graph(), "shape", {4, std::int64_t{1} << 62, 4});
         add_node(m, "ConstantOfShape", {"shape"}, {"w"});
         add_node(m, "Flatten", {"w"}, {"z"});
       },
       "invalid_argument: node 1 (ConstantOfShape): broadcast_to: f32[4, 4611686018427387904, 4] is larger than 2^48"},
      {"shapes",
       [](Model& m) {
         add_value(m.mutable_graph()->mutable_input(), "w", {4, 5});
         add_node(m, "MatMul", {"x", "w"}, {"z"}, "product");
       },
       "invalid_argument: node 1 'product' (MatMul): "},
  };
  for (const Case& c : cases) {
    Model model = small_model();
    c.change(model);
    EXPECT_EQ(message_of(model).substr(0, std::string(c.message).size()), c.message) << c.what;
  }
}

// Numbers that a file may hold and no memory, stack or division survives.
TEST(OnnxImport, RefusesNumbersThatNothingCanHold) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 32, kMost = std::numeric_limits<std::int64_t>::max();
  struct Case {
    const char* type;
    const char* attribute;
    std::vector<std::int64_t> values;
    std::vector<std::int64_t> second;  // a constant input, when there are any
    const char* message;
  };
  const Case cases[] = {
      {"DepthToSpace", "blocksize", {kHuge}, {}, "blocksize 4294967296 does not divide"},
      {"SpaceToDepth", "blocksize", {kMost}, {}, "does not divide"},
      {"Split", "num_outputs", {kMost}, {}, "num_outputs is 9223372036854775807, the node has 1 outputs"},
      {"Split", "axis", {1}, {-4, 8}, "a part of -4"},
      {"Tile", "", {}, {1, kMost, 1, 1}, "is larger than 2^48 bytes"},
      {"ConvTranspose", "kernel_shape", std::vector<std::int64_t>(1000, 1), {1}, "a window of 1000 dimensions"},
  };
  for (const Case& c : cases) {
    Model model = small_model();
    model.mutable_opset_import(0)->set_version(18);
    model.mutable_graph()->clear_input();
    add_value(model.mutable_graph()->mutable_input(), "x", {1, 4, 2, 2});
    auto* node = model.mutable_graph()->mutable_node(0);
    node->set_op_type(c.type);
    auto* attribute = node->add_attribute();
    attribute->set_name(c.attribute);
    if (c.values.size() == 1) attribute->set_i(c.values[0]);
    for (const std::int64_t value : c.values) attribute->add_ints(value);
    if (!c.second.empty()) {
      node->add_input("second");
      auto* tensor = model.mutable_graph()->add_initializer();
      tensor->set_name("second");
      tensor->set_data_type(7);
      tensor->add_dims(static_cast<std::int64_t>(c.second.size()));
      for (const std::int64_t value : c.second) tensor->add_int64_data(value);
    }
    EXPECT_NE(message_of(model).find(c.message), std::string::npos) << c.type << ": " << message_of(model);
  }
}

TEST(OnnxImport, TilesByThousands) {
  Model model = small_model();
  auto* node = model.mutable_graph()->mutable_node(0);
  node->set_op_type("Tile");
  node->add_input("repeats");
  auto* tensor = model.mutable_graph()->add_initializer();
  tensor->set_name("repeats");
  tensor->set_data_type(7);
  tensor->add_dims(2);
  tensor->add_int64_data(1);
  tensor->add_int64_data(5000);
  const Graph graph = import_proto(model);
  EXPECT_EQ(graph.type(graph.outputs()[0].value).shape, (Shape{kUnknown, 15000}));
  EXPECT_LT(graph.nodes().size(), 20U);
}

TEST(OnnxImport, TakesNodesInAnyOrderAndInitializersThatAreInputsToo) {
  Model model = small_model();
  model.mutable_graph()->mutable_node(0)->set_input(0, "sum");
  add_node(model, "Add", {"x", "w"}, {"sum"});
  add_value(model.mutable_graph()->mutable_input(), "w", {3});
  auto* w = model.mutable_graph()->add_initializer();
  w->set_name("w");
  w->set_data_type(1);
  w->add_dims(3);
  for (const float value : {-10.f, 0.f, 10.f}) w->add_float_data(value);
  const Graph graph = import_proto(model);
  EXPECT_EQ(graph.inputs().size(), 1u);
  const float x[] = {1, 2, 3};
  const auto bytes = std::as_bytes(std::span(x));
  const auto device = create_reference_device();
  const auto y =
      evaluate(graph, *device, std::vector<HostTensor>{{DType::f32, Shape{1, 3}, {bytes.begin(), bytes.end()}}});
  const float wanted[] = {0, 2, 13};
  EXPECT_EQ(std::memcmp(y[0].bytes.data(), wanted, sizeof(wanted)), 0);
}

TEST(OnnxImport, LargeTensorsStayInTheFile) {
  const auto file = blob_of(export_bytes(classifier()));
  const Graph graph = onnx::import_model(file, runtime::reference_evaluate());
  int in_file = 0;
  for (const Node& node : graph.nodes()) {
    if (node.op->kind == OpKind::constant) in_file += node.as<ConstantAttributes>().value->blob == file ? 1 : 0;
  }
  EXPECT_EQ(in_file, 1);
}

TEST(OnnxImport, TakesNoLiftedRangeFromAFile) {
  Model model = small_model();
  auto* w = model.mutable_graph()->add_initializer();
  w->set_name("w");
  w->set_data_type(1);
  w->add_dims(1024);
  w->set_lifted_offset(1u << 30);
  w->set_lifted_length(4096);
  EXPECT_EQ(message_of(model), "corrupt: tensor 'w': f32[1024] needs 4096 bytes, the file has 0");
  w->set_raw_data(std::string(4096, '\0'));
  w->set_source(7);  // a file that there is not
  EXPECT_EQ(message_of(model), "imported");
}

TEST(OnnxExport, ImportingAgainGivesTheSameAnswers) {
  const Graph graph = classifier();
  const Graph again = import_bytes(export_bytes(graph));
  const auto device = create_reference_device();
  std::mt19937 random(7);
  std::vector<float> x(5 * 64);
  for (float& value : x) value = std::uniform_real_distribution<float>(-1, 1)(random);
  const auto bytes = std::as_bytes(std::span(x));
  const std::vector<HostTensor> inputs{{DType::f32, Shape{5, 1, 8, 8}, {bytes.begin(), bytes.end()}}};
  EXPECT_EQ(evaluate(graph, *device, inputs)[0].bytes, evaluate(again, *device, inputs)[0].bytes);
}

TEST(OnnxExport, NamesEveryOpWithoutACounterpartBeforeWriting) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, Shape{2});
  output("y", atan2(x, x));
  output("z", atan2(x, x + 1.0));
  bool wrote = false;
  try {
    onnx::export_model(graph, [&](std::span<const std::byte>) { wrote = true; });
    FAIL() << "exported";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "ONNX has no counterpart for: atan2 (2)");
  }
  EXPECT_FALSE(wrote);
}

TEST(OnnxImport, TheDocumentationListsExactlyTheOperatorsThereAre) {
  std::set<std::string> there, rows, listed;
  for (const onnx::OperatorTable table : onnx::operator_tables()) {
    for (const onnx::Operator& row : table()) (row.domain == onnx::kRowDomain ? rows : there).emplace(row.type);
  }
  for (const onnx::ValueOperatorTable table : onnx::value_operator_tables()) {
    for (const onnx::ValueOperator& row : table()) there.emplace(row.type);
  }
  std::ifstream file("docs/onnx.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::size_t begin = text.find("```\n"), end = text.find("```\n", begin + 4);
  ASSERT_NE(end, std::string::npos) << "docs/onnx.md has no list";
  std::istringstream list(text.substr(begin + 4, end - begin - 4));
  for (std::string name; list >> name;) listed.insert(name);
  EXPECT_EQ(listed, there);
  std::string functions;
  for (const std::string& row : rows) functions += (functions.empty() ? "`" : ", `") + row + "`";
  EXPECT_NE(text.find(functions), std::string::npos) << functions;
}

// Any bytes: an ml::Error or a graph that verifies; the address sanitizer watches the rest.
void survive(const std::string& bytes) {
  try {
    verify(import_bytes(bytes));
  } catch (const Error& error) {
    EXPECT_NE(error.code(), Code::internal) << error.what();
  }
}

TEST(OnnxHostile, EveryTruncationIsRefusedOrVerifies) {
  const std::string bytes = export_bytes(classifier());
  for (std::size_t length = 0; length < bytes.size(); length += length < 600 ? 1 : 97) survive(bytes.substr(0, length));
}

TEST(OnnxHostile, EveryChangedByteIsRefusedOrVerifies) {
  const std::string bytes = export_bytes(classifier());
  for (std::size_t at = 0; at < std::min<std::size_t>(bytes.size(), 700); ++at) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(value);
      survive(changed);
    }
  }
}

TEST(OnnxHostile, DeepNestingIsRefused) {
  std::string inner;
  for (int depth = 0; depth < 500; ++depth) {
    // node { attribute { g { ... } } } from the inside out
    for (const std::uint32_t field : {6u, 5u, 1u}) {
      std::string outer;
      onnx::append_length(outer, field, inner.size());
      inner = outer + inner;
    }
  }
  std::string bytes;
  onnx::append_length(bytes, 7, inner.size());
  try {
    import_bytes(bytes + inner);
    FAIL() << "imported";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("messages nest deeper than 64"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace ml
