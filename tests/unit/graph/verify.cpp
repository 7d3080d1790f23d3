// Graphs as someone hostile would write them.
#include <gtest/gtest.h>

#include <random>

#include "engine/graph/build_control.h"
#include "engine/graph/ops/control.h"
#include "engine/graph/ops/movement.h"
#include "ml/error.h"
#include "tests/unit/graph/bodies.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {
namespace {

const TensorType kPair{DType::f32, {2}};

// Appends a node that nobody has checked.
ValueId node(Graph& g, std::string_view op, std::initializer_list<ValueId> inputs, std::vector<TensorType> types,
             AttributesPtr attributes = nullptr) {
  const Op& row = find_op(op);
  if (!attributes && row.make_attributes) attributes = row.make_attributes();
  return g.add_unchecked(row, std::move(attributes), std::vector<ValueId>(inputs), types);
}

// A body that calls the one below twice, `height` times over.
GraphPtr tower(int height) {
  GraphPtr below = body("f32[2]", [](std::span<const Var> x) -> std::vector<Var> { return {x[0] + 1.0}; });
  for (int i = 0; i < height; ++i) {
    auto graph = std::make_shared<Graph>();
    const Var x = input(*graph, "x", DType::f32, {2});
    output("y", call(below, call(below, std::span(&x, 1)))[0]);
    below = std::move(graph);
  }
  return below;
}

struct Refusal {
  const char* name;
  void (*build)(Graph& graph);
  const char* says;
};

const Refusal kRefusals[] = {
    {"an input without a name", [](Graph& g) { g.add_input("", kPair); }, "graph 'main': input 0 has no name"},
    {"inputs of one name",
     [](Graph& g) {
       g.add_input("x", kPair);
       g.add_input("x", kPair);
     },
     "graph 'main': two inputs are named 'x'"},
    {"outputs of one name",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       g.add_output("y", x);
       g.add_output("y", x);
     },
     "graph 'main': two outputs are named 'y'"},
    {"an input with a long name", [](Graph& g) { g.add_input(std::string(5000, 'x'), kPair); },
     "graph 'main': input 0 has a name of 5000 bytes, at most 4096 are possible"},
    {"a graph with a long name", [](Graph& g) { g.name.assign(5000, 'x'); },
     "a graph has a name of 5000 bytes, at most 4096 are possible"},
    {"a long symbol",
     [](Graph& g) {
       g.add_input("x", {DType::f32, {kUnknown}}, {std::string(5000, 'x')});
     },
     "the extent of dimension 0 of input 'x' has a name of 5000 bytes"},
    {"an output that is no value", [](Graph& g) { g.add_output("y", 7); }, "output 'y' is no value of the graph"},
    {"an input of no dtype",
     [](Graph& g) {
       g.add_input("x", {static_cast<DType>(99), {2}});
     },
     "there is no dtype 99"},
    {"an input of a negative extent",
     [](Graph& g) {
       Shape shape{2};
       shape[0] = -5;
       g.add_input("x", {DType::f32, shape});
     },
     "a dimension cannot be -5"},
    {"an input that is too large",
     [](Graph& g) {
       g.add_input("x", {DType::f32, {std::int64_t{1} << 47}});
     },
     "is larger than 2^48 bytes"},
    {"an input whose size overflows",
     [](Graph& g) {
       g.add_input("x", {DType::u8, {std::int64_t{1} << 40, std::int64_t{1} << 40}});
     },
     "is larger than 2^48 bytes"},
    {"an empty input whose strides overflow",
     [](Graph& g) {
       g.add_input("x", {DType::u8, {0, std::int64_t{1} << 40, std::int64_t{1} << 40}});
     },
     "is larger than 2^48 bytes"},
    {"too few symbols",
     [](Graph& g) {
       g.add_input("x", {DType::f32, {kUnknown, kUnknown}}, {"n"});
     },
     "input 'x' has 1 symbols for f32[?, ?]"},
    {"a symbol for a known extent",
     [](Graph& g) {
       g.add_input("x", {DType::f32, {kUnknown, 3}}, {"n", "c"});
     },
     "input 'x': symbol 'c' names the extent 3, which is known"},

    {"an operand that is nothing", [](Graph& g) { node(g, "neg", {5}, {kPair}); },
     "graph 'main', node 0 (neg): its input %5 comes later or not at all"},
    {"an operand that is its own result", [](Graph& g) { node(g, "neg", {0}, {kPair}); },
     "node 0 (neg): its input %0 comes later or not at all"},
    {"an operand that comes later",
     [](Graph& g) {
       g.add_input("x", kPair);
       node(g, "neg", {2}, {kPair});
       node(g, "neg", {0}, {kPair});
     },
     "node 0 (neg): its input %2 comes later or not at all"},
    {"too many operands",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       node(g, "neg", {x, x}, {kPair});
     },
     "node 0 (neg): neg: takes 1 inputs, not 2"},
    {"another type than the rule's",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       node(g, "neg", {x}, {{DType::f32, {3}}});
     },
     "node 0 (neg): its output 0 is f32[3], its shape rule answers f32[2]"},
    {"a known type where the rule does not know",
     [](Graph& g) {
       const ValueId x = g.add_input("x", {DType::f32, {kUnknown}});
       node(g, "neg", {x}, {kPair});
     },
     "its output 0 is f32[2], its shape rule answers f32[?]"},
    {"too many results",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       node(g, "neg", {x}, {kPair, kPair});
     },
     "node 0 (neg): it has 2 outputs, its shape rule answers 1"},
    {"a result that is too large",
     [](Graph& g) {
       const ValueId x = g.add_input("x", {DType::u8, {}});
       node(g, "broadcast_to", {x}, {{DType::u8, {std::int64_t{1} << 50}}},
            attributes<BroadcastAttributes>([](auto& a) { a.shape = {std::int64_t{1} << 50}; }));
     },
     "is larger than 2^48 bytes"},
    {"the attributes of another op",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       node(g, "transpose", {x}, {kPair}, std::make_shared<AxisAttributes>());
     },
     "node 0 (transpose): it carries the attributes of another op"},
    {"attributes where there are none",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       node(g, "neg", {x}, {kPair}, std::make_shared<AxisAttributes>());
     },
     "node 0 (neg): it carries the attributes of another op"},
    {"a row that is not in the table",
     [](Graph& g) {
       static const Op own = find_op("neg");
       const ValueId x = g.add_input("x", kPair);
       g.add_unchecked(own, nullptr, std::span(&x, 1), std::span(&kPair, 1));
     },
     "its op is no row of the table"},
    {"attributes of no dtype",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       node(g, "cast", {x}, {kPair}, attributes<DTypeAttributes>([](auto& a) { a.dtype = static_cast<DType>(0); }));
     },
     "node 0 (cast): there is no dtype 0"},
    {"attributes the rule refuses",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       node(g, "transpose", {x}, {kPair}, attributes<TransposeAttributes>([](auto& a) { a.order = {9}; }));
     },
     "node 0 (transpose): transpose: axis 9 is outside of f32[2]"},
    {"a constant without a value", [](Graph& g) { node(g, "constant", {}, {kPair}); },
     "node 0 (constant): its value is missing"},
    {"a constant past its bytes",
     [](Graph& g) {
       auto constant = std::make_shared<ConstantData>();
       constant->shape = {2};
       const std::byte bytes[8] = {};
       constant->blob = Blob::copy_of(bytes);
       constant->offset = 1;
       node(g, "constant", {}, {kPair}, attributes<ConstantAttributes>([&](auto& a) { a.value = constant; }));
     },
     "node 0 (constant): a constant's bytes [1, +8) lie outside of a blob of 8 bytes"},
    {"a constant whose size wraps",
     [](Graph& g) {
       auto constant = std::make_shared<ConstantData>();
       constant->shape = {std::int64_t{1} << 62};
       constant->blob = Blob::copy_of({});
       node(g, "constant", {}, {{DType::f32, constant->shape}},
            attributes<ConstantAttributes>([&](auto& a) { a.value = constant; }));
     },
     "is larger than 2^48 bytes"},

    {"a body that is missing",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       node(g, "call", {x}, {kPair}, std::make_shared<BodyAttributes>());
     },
     "node 0 (call): its body is missing"},
    {"a body that is broken",
     [](Graph& g) {
       auto inner = std::make_shared<Graph>();
       inner->name = "inner";
       inner->add_input("x", kPair);
       inner->add_output("y", 77);
       const ValueId x = g.add_input("x", kPair);
       node(g, "call", {x}, {kPair}, attributes<BodyAttributes>([&](auto& a) { a.body = inner; }));
     },
     "graph 'main', node 0 (call): graph 'inner': output 'y' is no value of the graph"},
    {"a body that donates",
     [](Graph& g) {
       auto inner = std::make_shared<Graph>();
       inner->name = "inner";
       inner->add_output("y", inner->add_input("x", kPair));
       inner->donate(0, 0);
       const ValueId x = g.add_input("x", kPair);
       node(g, "call", {x}, {kPair}, attributes<BodyAttributes>([&](auto& a) { a.body = inner; }));
     },
     "subgraph 'inner' donates; only the outermost graph can"},
    {"bodies that are nested too deep",
     [](Graph& g) {
       const Var x = input(g, "x", DType::f32, {2});
       output("y", call(tower(16), std::span(&x, 1))[0]);
     },
     "subgraphs are nested more than 16 deep"},
    {"bodies that are many when written out",
     [](Graph& g) {
       Var x = input(g, "x", DType::f32, {2});
       const GraphPtr tall = tower(13);  // 2^13 calls of the lowest
       for (int i = 0; i < 4096; ++i) x = call(tall, std::span(&x, 1))[0];
     },
     "the graph has more than 2^24 nodes with its subgraphs"},

    {"a donation of what is not there", [](Graph& g) { g.donate(0, 0); },
     "donation of input 0 to output 0: the graph has 0 inputs and 0 outputs"},
    {"a donation between types",
     [](Graph& g) {
       g.add_input("x", kPair);
       g.add_output("y", g.add_input("z", {DType::f32, {3}}));
       g.donate(0, 0);
     },
     "donation of 'x' to 'y': their types differ: f32[2] and f32[3]"},
    {"an input donated twice",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       g.add_output("y", node(g, "neg", {x}, {kPair}));
       g.add_output("z", node(g, "abs", {x}, {kPair}));
       g.donate(0, 0);
       g.donate(0, 1);
     },
     "donation of 'x' to 'z': the input has already been donated"},
    {"an output that two inputs are donated to",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       g.add_input("w", kPair);
       g.add_output("y", node(g, "neg", {x}, {kPair}));
       g.donate(0, 0);
       g.donate(1, 0);
     },
     "donation of 'w' to 'y': the output already has a buffer"},
    {"a value in two donated buffers",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       g.add_input("w", kPair);
       const ValueId y = node(g, "neg", {x}, {kPair});
       g.add_output("y", y);
       g.add_output("z", y);
       g.donate(0, 0);
       g.donate(1, 1);
     },
     "donation of 'w' to 'z': the output's value is already in another donated buffer"},
    {"an input in another's buffer",
     [](Graph& g) {
       const ValueId x = g.add_input("x", kPair);
       g.add_input("w", kPair);
       g.add_output("y", x);
       g.donate(1, 0);
     },
     "donation of 'w' to 'y': the output is another input"},
};

TEST(Verify, RefusesWhatBreaksAPromise) {
  for (const Refusal& refusal : kRefusals) {
    Graph graph;
    refusal.build(graph);
    try {
      verify(graph);
      ADD_FAILURE() << refusal.name << " is accepted";
    } catch (const Error& error) {
      EXPECT_NE(std::string_view(error.what()).find(refusal.says), std::string_view::npos)
          << refusal.name << "\n  says: " << error.what();
    }
  }
}

TEST(Verify, AcceptsWhatTheBuilderMakes) {
  for (const ShapeCase& c : all_shape_cases()) {
    if (c.expects[0] == '!') continue;
    Graph graph;
    output("y", c.build(graph));
    EXPECT_NO_THROW(verify(graph)) << c.name;
  }
}

TEST(Verify, AcceptsDonations) {
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2});
  const Var kept = input(graph, "kept", DType::f32, {2});
  output("y", x + 1.0);
  output("kept", kept);
  graph.donate(0, 0);
  graph.donate(1, 1);
  EXPECT_NO_THROW(verify(graph));
}

TEST(Verify, AcceptsSymbolsAndUnnamedExtents) {
  Graph graph;
  graph.add_input("x", {DType::f32, {kUnknown, 3, kUnknown}}, {"n", "", ""});
  graph.add_input("y", {DType::f32, {kUnknown}});
  EXPECT_NO_THROW(verify(graph));
}

TEST(Verify, LooksAtASharedBodyOnce) {
  // 2^15 calls of the lowest body, which would take long one by one.
  Graph graph;
  const Var x = input(graph, "x", DType::f32, {2});
  output("y", call(tower(14), std::span(&x, 1))[0]);
  EXPECT_NO_THROW(verify(graph));
}

// Attributes of the right struct with any contents are refused or accepted, never worse.
class Scramble final : public AttributeVisitor {
 public:
  explicit Scramble(std::mt19937& random) : random_(random) {}
  void field(const char*, bool& v) override { v = pick() % 2 == 0; }
  void field(const char*, std::int64_t& v) override { v = number(); }
  void field(const char*, double& v) override { v = static_cast<double>(number()); }
  void field(const char*, DType& v) override { v = static_cast<DType>(pick() % 16); }
  void field(const char*, Shape& v) override {
    v = Shape();
    for (std::size_t i = pick() % 9; i > 0; --i) v.append(0);
    for (int i = 0; i < v.rank(); ++i) v[i] = number();
  }
  void field(const char*, Ints& v) override {
    v.assign(pick() % 4, 0);
    for (std::int64_t& entry : v) entry = number();
  }
  void field(const char*, GraphPtr& v) override {
    if (pick() % 4 == 0) v = nullptr;
  }
  void field(const char*, ConstantPtr& v) override {
    if (pick() % 4 == 0) v = nullptr;
  }

 private:
  std::size_t pick() { return random_(); }
  std::int64_t number() {
    constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
    constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
    constexpr std::int64_t kNumbers[] = {0, 0, 1, 1, 2, 3, 8, 9, -1, -2, -3, kMin, kMin + 1, kMax, kMax - 1, 1ll << 62};
    return kNumbers[pick() % std::size(kNumbers)];
  }
  std::mt19937& random_;
};

TEST(Verify, SurvivesAnyAttributes) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const ShapeCase& c : all_shape_cases()) {
    if (c.expects[0] == '!') continue;
    Graph built;
    c.build(built);
    for (int round = 0; round < 20; ++round) {
      Graph graph;
      for (const GraphInput& in : built.inputs()) graph.add_input(in.name, built.type(in.value));
      if (graph.values().size() + built.nodes().size() > built.values().size()) break;  // inputs between nodes
      for (const Node& from : built.nodes()) {
        std::vector<TensorType> types;
        for (std::uint32_t i = 0; i < from.output_count; ++i) types.push_back(built.type(from.output(i)));
        AttributesPtr attributes = from.attributes;
        if (from.op->make_attributes != nullptr) {
          std::shared_ptr<Attributes> scrambled = from.op->make_attributes();
          Scramble scramble(random);
          scrambled->visit(scramble);
          attributes = std::move(scrambled);
        }
        graph.add_unchecked(*from.op, attributes, from.inputs, types);
      }
      try {
        verify(graph);
      } catch (const Error&) {
      }
    }
  }
}

}  // namespace
}  // namespace ml::test
