// The text form and the binary form carry every graph, and refuse what is none.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "engine/graph/binary.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/graph_generated.h"
#include "engine/graph/limits.h"
#include "engine/graph/text.h"
#include "ml/error.h"
#include "tests/unit/graph/form_samples.h"

namespace ml::test {
namespace {

TEST(Forms, SamplesHoldEveryRow) {
  std::set<const Op*> held;
  for (const FormSample& sample : form_samples()) {
    for (const Node& node : sample.graph.nodes()) held.insert(node.op);
  }
  for (const Op* op : all_ops()) EXPECT_TRUE(held.contains(op)) << op->name;
}

TEST(Forms, TextReadsBack) {
  for (const FormSample& sample : form_samples()) {
    const std::string text = print(sample.graph);
    try {
      const Graph read = parse(text);
      EXPECT_TRUE(equal(read, sample.graph)) << sample.name << "\n" << text << print(read);
      EXPECT_EQ(print(read), text) << sample.name;
    } catch (const Error& error) {
      ADD_FAILURE() << sample.name << ": " << error.what() << "\n" << text;
    }
  }
}

TEST(Forms, BinaryReadsBack) {
  for (const FormSample& sample : form_samples()) {
    const BinaryGraph written = serialize(sample.graph);
    try {
      const Graph read = deserialize(written.bytes, written.blobs);
      EXPECT_TRUE(equal(read, sample.graph)) << sample.name << "\n" << print(sample.graph) << print(read);
    } catch (const Error& error) {
      ADD_FAILURE() << sample.name << ": " << error.what();
    }
  }
}

TEST(Forms, LargeConstantsAreReferences) {
  std::vector<std::byte> file(20000, std::byte{7});
  const std::shared_ptr<const Blob> blob = Blob::copy_of(file);
  Graph graph;
  const auto add = [&](std::uint64_t offset) {
    return graph.add_constant(std::make_shared<const ConstantData>(ConstantData{DType::u8, {5000}, blob, offset}));
  };
  graph.add_output("a", add(1));
  graph.add_output("b", add(15000));
  const BinaryGraph written = serialize(graph);
  ASSERT_EQ(written.blobs.size(), 1u);
  EXPECT_LT(written.bytes.size(), 1000u);
  EXPECT_TRUE(equal(deserialize(written.bytes, written.blobs), graph));
  EXPECT_THROW(deserialize(written.bytes, {}), Error);
  const std::shared_ptr<const Blob> shorter = Blob::copy_of(std::span(file).first(19999));
  EXPECT_THROW(deserialize(written.bytes, std::span(&shorter, 1)), Error);

  const std::string text = print(graph);
  EXPECT_TRUE(equal(parse(text, std::span(&blob, 1)), graph));
  EXPECT_THROW(parse(text), Error);
}

TEST(Forms, NamesMayBeLongAndHoldAnyByte) {
  Graph graph;
  graph.name.clear();
  for (int byte = 0; byte < 256; ++byte) graph.name += std::string(kMaxNameBytes / 256, static_cast<char>(byte));
  EXPECT_TRUE(equal(parse(print(graph)), graph));
  EXPECT_TRUE(equal(deserialize(serialize(graph).bytes, {}), graph));
  graph.name += "x";
  EXPECT_THROW(parse(print(graph)), Error);
  EXPECT_THROW(deserialize(serialize(graph).bytes, {}), Error);
}

TEST(Forms, BinaryReadsFromAnyAddress) {
  const BinaryGraph written = serialize(full_sample());
  std::vector<std::byte> shifted(written.bytes.size() + 1);
  std::ranges::copy(written.bytes, shifted.begin() + 1);
  EXPECT_TRUE(equal(deserialize(std::span(shifted).subspan(1), written.blobs), full_sample()));
}

// The small sample of the corruption tests: every kind of field, in few bytes.
Graph small_sample() {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2, 1, 4, 4});
  const Var w = constant(graph, make_splat(DType::f32, {1, 1, 2, 2}, 0.5));
  const Var y = max_pool(convolution(x, w, {}, Windows::unit(2)), {2, 2}, Windows::unit(2));
  output("y", reduce_sum(clamp(gelu(cast(y, DType::f64)), -1, 1), {0}));
  return graph;
}

// Anything may come back but a crash: an error, or a graph that verifies.
template <class Read>
bool survives(Read&& read) {
  try {
    verify(read());
    return true;
  } catch (const Error& error) {
    return error.what()[0] != '\0';
  }
}

TEST(Forms, TruncatedBytesAreRefused) {
  const BinaryGraph written = serialize(small_sample());
  for (std::size_t length = 0; length < written.bytes.size(); ++length) {
    EXPECT_TRUE(survives([&] { return deserialize(std::span(written.bytes).first(length), written.blobs); }));
  }
  const std::string text = print(small_sample());
  for (std::size_t length = 0; length + 2 < text.size(); ++length)
    EXPECT_THROW(parse(std::string_view(text).substr(0, length)), Error) << length;
}

TEST(Forms, DamagedBytesAreRefusedOrHarmless) {
  for (const Graph& graph : {small_sample(), full_sample()}) {
    BinaryGraph written = serialize(graph);
    // The big sample's constants may hold anything, so a stride leaves its test short.
    const std::size_t stride = written.bytes.size() > 4000 ? 17 : 1;
    for (std::size_t i = 0; i < written.bytes.size(); i += stride) {
      const std::byte before = written.bytes[i];
      for (const int bits : {0x01, 0x04, 0x10, 0x80, 0xff}) {
        written.bytes[i] = before ^ static_cast<std::byte>(bits);
        EXPECT_TRUE(survives([&] { return deserialize(written.bytes, written.blobs); })) << i;
      }
      written.bytes[i] = before;
    }
  }
}

TEST(Forms, DamagedTextIsRefusedOrHarmless) {
  const std::string text = print(small_sample());
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const char c : {'\0', '0', '9', 'x', '-', '?', '"', '\\', '%', '{', ']', ' ', '\xff'}) {
      std::string damaged = text;
      damaged[i] = c;
      EXPECT_TRUE(survives([&] { return parse(damaged); })) << i;
    }
  }
}

TEST(Forms, RandomlyDamagedGraphsNeverCrash) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const BinaryGraph written = serialize(full_sample());
  const std::string text = print(full_sample());
  for (int round = 0; round < 300; ++round) {
    std::vector<std::byte> bytes = written.bytes;
    std::string words = text;
    for (unsigned k = 0; k <= random() % 8; ++k) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
      const std::size_t from = random() % words.size(), to = random() % words.size();
      words.insert(to, words.substr(from, random() % 12));
    }
    EXPECT_TRUE(survives([&] { return deserialize(bytes, written.blobs); }));
    EXPECT_TRUE(survives([&] { return parse(words); }));
  }
}

struct TextError {
  const char* text;
  const char* says;
};
const TextError kTextErrors[] = {
    {"", "line 1, column 1: expected 'graph', found the end of the text"},
    {"graph g {", "line 1, column 10: expected a value, 'input', 'output', 'donate' or '}', found the end of the text"},
    {"graph g {}\ngraph", "line 2, column 1: expected the end of the text, found 'graph'"},
    {"graph g {\n  input %0 x: f31[2]\n}", "line 2, column 15: "},
    {"graph g {\n  input %0 x: f32[2, -3]\n}", "line 2, column 22: a dimension cannot be -3"},
    {"graph g {\n  input %0 x: f32[]\n  input %0 y: f32[]\n}", "line 3, column 9: %0 is defined twice"},
    {"graph g {\n  input %0 x: f32[2]\n  %1 = exp(%7)\n}", "line 3, column 12: %7 is not defined before it is used"},
    {"graph g {\n  input %0 x: f32[2]\n  %1 = expp(%0)\n}", "line 3, column 8: there is no op 'expp'"},
    {"graph g {\n  input %0 x: i32[2]\n  %1 = exp(%0)\n}", "line 3, column 8: exp: wants a floating dtype, got i32[2]"},
    {"graph g {\n  input %0 x: f32[2]\n  %1, %2 = exp(%0)\n}", "line 3, column 3: exp has 1 results, not 2"},
    {"graph g {\n  input %0 x: f32[2]\n  %1 = exp(%0) : f32[3]\n}", "line 3, column 18: the result of exp is f32[2]"},
    {"graph g {\n  input %0 x: f32[2]\n  %1 = softmax(%0)\n}", "line 4, column 1: field 'axis' is missing"},
    {"graph g {\n  input %0 x: f32[2]\n  %1 = softmax(%0) {axis = 0, axis = 0}\n}",
     "line 3, column 31: field 'axis' is there twice"},
    {"graph g {\n  input %0 x: f32[2]\n  %1 = softmax(%0) {axis = 0, exes = 0}\n}",
     "line 3, column 31: softmax has no field 'exes'"},
    {"graph g {\n  input %0 x: f32[2]\n  %1 = softmax(%0) {axis = 0.5}\n}",
     "line 3, column 28: expected a 64-bit integer, found '0.5'"},
    {"graph g {\n  input %0 x: f32[2]\n  %1 = softmax(%0) {axis = 0 0}\n}",
     "line 3, column 30: expected ',' or '}' after field 'axis', found '0'"},
    {"graph g {\n  %0 = constant() {value = i8[2] {1, 128}}\n}",
     "line 2, column 38: expected an element of i8, found '128'"},
    {"graph g {\n  %0 = constant() {value = i8[2] {1}}\n}", "line 2, column 36: expected ',', found '}'"},
    {"graph g {\n  %0 = constant() {value = f64[513] splat 0}\n}",
     "line 2, column 28: a constant of more than 4096 bytes"},
    {"graph g {\n  %0 = constant() {value = u8[5000] blob \"b\" offset 0 length 5000}\n}",
     "line 2, column 42: there is no blob \"b\""},
    {"graph \"g\n\" {}", "line 1, column 7: a quoted name does not end on its line"},
    {"graph \"\\q\" {}", "line 1, column 7: there is no escape \\q"},
    {"graph g {\n  input %0 x: f32[]\n  donate 0 -> 0\n}",
     "line 1, column 1: graph 'g': donation of input 0 to output 0"},
};

TEST(Forms, TextErrorsNameTheirPlace) {
  for (const TextError& c : kTextErrors) {
    try {
      parse(c.text);
      ADD_FAILURE() << "parsed: " << c.text;
    } catch (const Error& error) {
      EXPECT_TRUE(std::string_view(error.what()).starts_with(c.says)) << c.text << "\n  says: " << error.what();
    }
  }
}

// A graph with `depth` levels of calls below it.
Graph nested(int depth) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {});
  output("y", depth == 0 ? exp(x) : call(std::make_shared<const Graph>(nested(depth - 1)), std::span(&x, 1))[0]);
  return graph;
}

TEST(Forms, NestAsDeepAsTheLimitAndNoDeeper) {
  const Graph deepest = nested(kMaxGraphDepth);
  EXPECT_TRUE(equal(parse(print(deepest)), deepest));
  EXPECT_TRUE(equal(deserialize(serialize(deepest).bytes, {}), deepest));
  const Graph deeper = nested(kMaxGraphDepth + 1);
  EXPECT_THROW(verify(deeper), Error);
  EXPECT_THROW(parse(print(deeper)), Error);
  EXPECT_THROW(deserialize(serialize(deeper).bytes, {}), Error);
}

TEST(Forms, EndlessNestingIsRefused) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "graph g { %0 = call() { body = ";
  EXPECT_THROW(parse(text), Error);
}

// Offsets may point at one table many times, so that a few bytes unfold into a huge graph.
TEST(Forms, SharedTablesDoNotUnfold) {
  flatbuffers::FlatBufferBuilder builder;
  const std::vector<std::uint32_t> reads_x{0};
  const auto graph_of = [&](const std::vector<flatbuffers::Offset<fb::Node>>& nodes) {
    const std::vector<std::int64_t> scalar_dims;
    const std::vector<flatbuffers::Offset<fb::Input>> inputs{
        fb::CreateInputDirect(builder, "x", 0, static_cast<std::uint8_t>(DType::f32), &scalar_dims)};
    const std::vector<flatbuffers::Offset<fb::Output>> outputs{fb::CreateOutputDirect(builder, "y", 1)};
    return fb::CreateGraphDirect(builder, "g", &inputs, &nodes, &outputs);
  };
  auto graph = graph_of({fb::CreateNodeDirect(builder, "exp", &reads_x)});
  for (int level = 0; level < 12; ++level) {
    const std::vector<flatbuffers::Offset<fb::Field>> fields{
        fb::CreateFieldDirect(builder, "body", fb::FieldValue::Graph, graph.Union())};
    const auto node = fb::CreateNodeDirect(builder, "call", &reads_x, &fields);
    graph = graph_of(std::vector<flatbuffers::Offset<fb::Node>>(16, node));
  }
  builder.Finish(graph, fb::GraphIdentifier());
  const std::span bytes(builder.GetBufferPointer(), builder.GetSize());
  ASSERT_LT(bytes.size(), 8000u);
  EXPECT_THROW(deserialize(std::as_bytes(bytes), {}), Error);
}

TEST(Forms, DocumentationParses) {
  std::ifstream file("docs/graph-text.md");
  std::stringstream whole;
  whole << file.rdbuf();
  const std::string page = whole.str();
  const std::string_view fence = "```graph\n";
  std::size_t examples = 0;
  for (std::size_t at = page.find(fence); at != page.npos; at = page.find(fence, at)) {
    at += fence.size();
    const std::string example = page.substr(at, page.find("```", at) - at);
    try {
      const Graph graph = parse(example);
      EXPECT_TRUE(equal(parse(print(graph)), graph));
      ++examples;
    } catch (const Error& error) {
      ADD_FAILURE() << error.what() << "\n" << example;
    }
  }
  EXPECT_GE(examples, 2u);
}

}  // namespace
}  // namespace ml::test
