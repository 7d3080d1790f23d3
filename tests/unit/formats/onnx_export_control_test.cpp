// Control flow in a file: what it is written as, and that it computes the same when it is read again.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/import.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/graph/scalar.h"
#include "engine/graph/text.h"
#include "engine/passes/passes.h"
#include "engine/runtime/evaluate.h"
#include "ml/error.h"

namespace ml {
namespace {

std::string export_bytes(const Graph& graph) {
  std::string bytes;
  onnx::export_model(graph, [&](std::span<const std::byte> piece) {
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return bytes;
}

// The operators, with those of bodies behind what holds them.
std::string types(const onnx::pb::Graph& graph) {
  std::string text;
  for (const auto& node : graph.node()) {
    text += (text.empty() ? "" : " ") + node.op_type();
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) text += "{" + types(attribute.g()) + "}";
    }
  }
  return text;
}

std::vector<float> run(const Graph& graph) {
  std::vector<HostTensor> inputs;
  for (const GraphInput& input : graph.inputs()) {
    const TensorType& type = graph.type(input.value);
    HostTensor tensor{type.dtype, type.shape, {}};
    for (std::int64_t i = 0; i < type.shape.elements(); ++i) {
      const auto at = tensor.bytes.size();
      tensor.bytes.resize(at + dtype_size(type.dtype));
      store_double(type.dtype, &tensor.bytes[at], type.dtype == DType::f32 ? 0.5 + static_cast<double>(i) : 1);
    }
    inputs.push_back(std::move(tensor));
  }
  const std::unique_ptr<Device> device = create_reference_device();
  std::vector<float> values;
  for (const HostTensor& output : evaluate(graph, *device, inputs)) {
    for (std::size_t at = 0; at < output.bytes.size(); at += dtype_size(output.dtype))
      values.push_back(static_cast<float>(load_double(output.dtype, &output.bytes[at])));
  }
  return values;
}

struct Case {
  const char* what;
  const char* text;
  const char* types;
};
const Case kCases[] = {
    {"a branch that answers what it captures, and a constant", R"(graph main {
  input %0 c: bool[]
  input %1 x: f32[3]
  %2, %3 = if(%0, %1) {then_body = graph a {
    input %0 x: f32[3]
    %1 = exp(%0) : f32[3]
    output p = %1
    output q = %1
  }, else_body = graph b {
    input %0 x: f32[3]
    %1 = constant() {value = f32[3] splat 7} : f32[3]
    output p = %0
    output q = %1
  }} : f32[3], f32[3]
  output p = %2
  output q = %3
})",
     "If{Exp Identity}{Identity Identity}"},
    {"a loop inside a branch that its condition ends", R"(graph main {
  input %0 c: bool[]
  input %1 x: f32[]
  input %2 most: f32[]
  %3 = if(%0, %1, %2) {then_body = graph a {
    input %0 x: f32[]
    input %1 most: f32[]
    %2 = while(%0, %1) {condition = graph c {
      input %0 x: f32[]
      input %1 most: f32[]
      %2 = constant() {value = f32[] {40}} : f32[]
      %3 = add(%1, %2) : f32[]
      %4 = lt(%0, %3) : bool[]
      output c = %4
    }, body = graph d {
      input %0 x: f32[]
      input %1 most: f32[]
      %2 = add(%0, %1) : f32[]
      output x = %2
    }, carried = 1} : f32[]
    output y = %2
  }, else_body = graph b {
    input %0 x: f32[]
    input %1 most: f32[]
    output y = %0
  }} : f32[]
  output y = %3
})",
     "If{Add Less Loop{Add Add Less}}{Identity}"},
    {"a loop whose turn counts", R"(graph main {
  input %0 x: f32[2]
  %1 = constant() {value = i64[] {0}} : i64[]
  %2, %3 = while(%1, %0) {condition = graph c {
    input %0 turn: i64[]
    input %1 x: f32[2]
    %2 = constant() {value = i64[] {3}} : i64[]
    %3 = lt(%0, %2) : bool[]
    output c = %3
  }, body = graph d {
    input %0 turn: i64[]
    input %1 x: f32[2]
    %2 = constant() {value = i64[] {1}} : i64[]
    %3 = add(%0, %2) : i64[]
    %4 = cast(%3) {dtype = f32} : f32[]
    %5 = mul(%1, %4) : f32[2]
    output turn = %3
    output x = %5
  }, carried = 2} : i64[], f32[2]
  output y = %3
})",
     "Less Loop{Add Cast Mul Less}"},
    {"a scan", R"(graph main {
  input %0 sum: f32[2]
  input %1 x: f32[4, 2]
  input %2 factor: f32[]
  %3, %4 = scan(%0, %1, %2) {body = graph d {
    input %0 sum: f32[2]
    input %1 x: f32[2]
    input %2 factor: f32[]
    %3 = mul(%1, %2) : f32[2]
    %4 = add(%0, %3) : f32[2]
    output sum = %4
    output all = %4
  }, carried = 1, scanned = 1, length = 4, reverse = false} : f32[2], f32[4, 2]
  output sum = %3
  output all = %4
})",
     "Scan{Mul Add Identity}"},
    {"a scan backwards", R"(graph main {
  input %0 sum: f32[2]
  input %1 x: f32[4, 2]
  %2, %3 = scan(%0, %1) {body = graph d {
    input %0 sum: f32[2]
    input %1 x: f32[2]
    %2 = add(%0, %1) : f32[2]
    output sum = %2
    output all = %2
  }, carried = 1, scanned = 1, length = -1, reverse = true} : f32[2], f32[4, 2]
  output sum = %2
  output all = %3
})",
     "Scan{Add Identity}"},
    {"turns that scan nothing, backwards", R"(graph main {
  input %0 x: f32[2]
  %1 = constant() {value = i64[] {0}} : i64[]
  %2, %3, %4 = scan(%1, %0) {body = graph d {
    input %0 turn: i64[]
    input %1 x: f32[2]
    %2 = constant() {value = i64[] {1}} : i64[]
    %3 = add(%0, %2) : i64[]
    %4 = add(%1, %1) : f32[2]
    output turn = %3
    output x = %4
    output all = %0
  }, carried = 2, scanned = 0, length = 3, reverse = true} : i64[], f32[2], i64[3]
  output x = %3
  output all = %4
})",
     "Loop{Add Identity Identity} Slice"},
    {"a scan backwards that carries what grows", R"(graph main {
  input %0 sum: f32[1]
  input %1 x: f32[3, 1]
  %2, %3 = scan(%0, %1) {body = graph d {
    input %0 sum: f32[?n]
    input %1 x: f32[1]
    %2 = concat(%0, %1) {axis = 0} : f32[?]
    output sum = %2
    output all = %1
  }, carried = 1, scanned = 1, length = 3, reverse = true} : f32[?], f32[3, 1]
  output sum = %2
  output all = %3
})",
     "Loop{Sub Sub Gather Concat Identity} Slice"},
};

TEST(OnnxExportControl, ComputesTheSameAfterwards) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.what);
    const Graph graph = parse(c.text);
    const std::string bytes = export_bytes(graph);
    onnx::pb::Model model;
    ASSERT_TRUE(model.ParseFromString(bytes));
    EXPECT_EQ(types(model.graph()), c.types);
    const Graph again =
        onnx::import_model(Blob::copy_of(std::as_bytes(std::span(bytes))), runtime::reference_evaluate());
    EXPECT_EQ(run(again), run(graph));
  }
}

Graph there_and_back(const std::string& text) {
  const std::string bytes = export_bytes(parse(text));
  return onnx::import_model(Blob::copy_of(std::as_bytes(std::span(bytes))), runtime::reference_evaluate());
}

TEST(OnnxExportControl, AScanBackwardsComesBackAsOne) {
  const Graph again = there_and_back(R"(graph main {
  input %0 x: f32[3, 2]
  %1 = scan(%0) {body = graph d {
    input %0 x: f32[2]
    %1 = exp(%0) : f32[2]
    output y = %1
  }, carried = 0, scanned = 1, length = -1, reverse = true} : f32[3, 2]
  output y = %1
})");
  ASSERT_EQ(again.nodes().size(), 1);
  EXPECT_NE(print(again).find("reverse = true"), std::string::npos);
}

// What was scanned for the sake of its length is a trip count, under a condition, and becomes the same again.
TEST(OnnxExportControl, ALoopOfUnknownTurnsComesBackAsOne) {
  const std::string text = R"(graph main {
  input %0 turns: i64[]
  input %1 goes_on: bool[]
  input %2 x: f32[2]
  %3 = constant() {value = i64[] {0}} : i64[]
  %4 = maximum(%0, %3) : i64[]
  %5 = select(%1, %4, %3) : i64[]
  %6 = reshape(%5) {dims = [1]} : i64[1]
  %7 = constant() {value = bool[] {false}} : bool[]
  %8 = expand_to(%7, %6) : bool[?]
  %9, %10 = scan(%3, %2, %8) {body = graph d {
    input %0 turn: i64[]
    input %1 x: f32[2]
    input %2 nothing: bool[]
    %3 = constant() {value = i64[] {1}} : i64[]
    %4 = add(%0, %3) : i64[]
    %5 = cast(%0) {dtype = f32} : f32[]
    %6 = add(%1, %5) : f32[2]
    output turn = %4
    output x = %6
  }, carried = 2, scanned = 1, length = -1, reverse = false} : i64[], f32[2]
  output y = %10
})";
  const auto ops = [](const Graph& graph) {
    std::multiset<std::string_view> names;
    const Graph live = passes::eliminate_dead_code(graph);
    for (const Node& node : live.nodes()) names.insert(node.op->name);
    return names;
  };
  std::multiset<std::string_view> wanted = ops(parse(text));
  wanted.insert("constant");  // the importer has a zero for each use
  EXPECT_EQ(ops(there_and_back(text)), wanted);
}

TEST(OnnxExportControl, ALoopWhoseBodyDoesNotLookAtTheTurnsNumberCarriesNone) {
  const std::string text = R"(graph main {
  input %0 x: f32[2]
  %1 = scan(%0) {body = graph d {
    input %0 x: f32[2]
    %1 = exp(%0) : f32[2]
    output x = %1
  }, carried = 1, scanned = 0, length = 3, reverse = false} : f32[2]
  output y = %1
})";
  const Graph again = passes::eliminate_dead_code(there_and_back(text));
  ASSERT_EQ(again.nodes().size(), 1);
  EXPECT_NE(print(again).find("carried = 1, scanned = 0, length = 3"), std::string::npos) << print(again);
}

// Names in bodies differ from each other and from those outside, and large constants stand outside.
TEST(OnnxExportControl, NamesAreUsedOnceAndLargeConstantsStandOutside) {
  const Graph graph = parse(R"(graph main {
  input %0 c: bool[]
  input %1 v2: f32[300]
  %2 = if(%0, %1) {then_body = graph a {
    input %0 x: f32[300]
    %1 = constant() {value = f32[300] splat 2} : f32[300]
    %2 = mul(%0, %1) : f32[300]
    output y = %2
  }, else_body = graph b {
    input %0 x: f32[300]
    %1 = exp(%0) : f32[300]
    %2 = neg(%1) : f32[300]
    output y = %2
  }} : f32[300]
  output v4 = %2
})");
  onnx::pb::Model model;
  ASSERT_TRUE(model.ParseFromString(export_bytes(graph)));
  std::multiset<std::string> names{"c", "v2"};
  for (const auto& tensor : model.graph().initializer()) names.insert(tensor.name());
  EXPECT_EQ(names.size(), 3);
  for (const auto& node : model.graph().node()) {
    for (const std::string& name : node.output()) names.insert(name);
    for (const auto& attribute : node.attribute()) {
      EXPECT_EQ(attribute.g().initializer_size(), 0);
      for (const auto& inner : attribute.g().node()) {
        for (const std::string& name : inner.output()) names.insert(name);
      }
    }
  }
  EXPECT_EQ(names.size(), 7);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
}

// Refusals name what stands in bodies, and the opset is what those need.
TEST(OnnxExportControl, BodiesAreLookedInto) {
  const std::string body = R"(graph main {
  input %0 c: bool[]
  input %1 x: f32[2]
  %2 = if(%0, %1) {then_body = graph a {
    input %0 x: f32[2]
    %1 = BODY
    output y = %1
  }, else_body = graph b {
    input %0 x: f32[2]
    output y = %0
  }} : f32[2]
  output y = %2
})";
  const auto with = [&](const std::string& row) {
    std::string text = body;
    return parse(text.replace(text.find("BODY"), 4, row));
  };
  try {
    export_bytes(with("atan2(%0, %0) : f32[2]"));
    ADD_FAILURE() << "it was exported";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("no counterpart for: atan2 (1)"), std::string::npos) << error.what();
  }
  onnx::pb::Model model;
  ASSERT_TRUE(model.ParseFromString(export_bytes(with("bit_cast(%0) {dtype = f32} : f32[2]"))));
  EXPECT_EQ(model.opset_import(0).version(), 26);
  // A composite falls apart.
  ASSERT_TRUE(model.ParseFromString(export_bytes(with("silu(%0) : f32[2]"))));
  EXPECT_EQ(types(model.graph()), "If{Sigmoid Mul}{Identity}");
}

}  // namespace
}  // namespace ml
