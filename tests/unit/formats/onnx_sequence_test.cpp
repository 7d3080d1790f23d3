// Attention and recurrent layers of ONNX models: sizes that are not known while importing, and what is refused.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/unit/formats/onnx_models.h"

namespace ml {
namespace {

using namespace onnx_models;

struct Operand {
  const char* name;
  std::vector<int> dims;
  unsigned symbolic = 0;  // a bit for each dimension that the model may leave open
  int type = 1;           // ONNX's: f32, 6 is i32, 7 is i64, 9 is bool
};
struct SequenceCase {
  const char* name;
  const char* op;
  std::vector<Operand> operands;  // without a name: not there
  std::vector<const char*> results;
  std::vector<std::pair<const char*, std::int64_t>> integers = {};
  std::vector<std::pair<const char*, const char*>> texts = {};
  std::vector<std::pair<const char*, float>> numbers = {};
};

Model model_of(const SequenceCase& c, bool symbolic) {
  Model model = empty_model(27);
  auto& graph = *model.mutable_graph();
  auto& node = *graph.add_node();
  node.set_op_type(c.op);
  for (const Operand& operand : c.operands) {
    node.add_input(operand.name);
    if (operand.name[0] == '\0') continue;
    add_value(graph.mutable_input(), operand.name, {}, operand.type);
    auto& shape = *graph.mutable_input()->rbegin()->mutable_type()->mutable_tensor_type()->mutable_shape();
    for (std::size_t i = 0; i < operand.dims.size(); ++i) {
      auto& dim = *shape.add_dim();
      if (symbolic && ((operand.symbolic >> i) & 1) != 0)
        dim.set_dim_param(std::string(operand.name) + std::to_string(i));
      else
        dim.set_dim_value(operand.dims[i]);
    }
  }
  for (const char* result : c.results) {
    node.add_output(result);
    graph.add_output()->set_name(result);
  }
  for (const auto& [name, value] : c.integers) set(node, name, value);
  for (const auto& [name, value] : c.texts) add_attribute(node, name).set_s(value);
  for (const auto& [name, value] : c.numbers) add_attribute(node, name).set_f(value);
  return model;
}

unsigned seed() {
  const char* text = std::getenv("ML_TEST_SEED");
  return text != nullptr ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : std::random_device{}();
}

std::vector<HostTensor> random_inputs(const SequenceCase& c, std::mt19937& random) {
  std::vector<HostTensor> inputs;
  for (const Operand& operand : c.operands) {
    if (operand.name[0] == '\0') continue;
    const Shape shape(std::vector<std::int64_t>(operand.dims.begin(), operand.dims.end()));
    const auto count = static_cast<std::size_t>(shape.elements());
    std::vector<float> values(count);
    std::vector<std::int32_t> narrow(count);
    std::vector<std::int64_t> counts(count);
    std::vector<std::uint8_t> flags(count);
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = std::uniform_real_distribution<float>(-1, 1)(random);
      counts[i] = narrow[i] = std::uniform_int_distribution<std::int32_t>(1, 3)(random);
      flags[i] = random() % 4 != 0 ? 1 : 0;
    }
    switch (operand.type) {
      case 6: inputs.push_back(tensor(DType::i32, shape, narrow)); break;
      case 7: inputs.push_back(tensor(DType::i64, shape, counts)); break;
      case 9: inputs.push_back(tensor(DType::boolean, shape, flags)); break;
      default: inputs.push_back(floats(shape, values));
    }
  }
  return inputs;
}

std::vector<SequenceCase> cases() {
  const Operand q{"q", {2, 4, 3, 8}, 0b0101}, k{"k", {2, 2, 3, 8}, 0b0101}, v{"v", {2, 2, 3, 8}, 0b0101}, none{"", {}};
  const Operand past_k{"pk", {2, 2, 5, 8}, 0b0101}, past_v{"pv", {2, 2, 5, 8}, 0b0101};
  const Operand x{"x", {4, 3, 5}, 0b011}, lengths{"n", {3}, 1, 6};
  const Operand packed{"q", {2, 3, 8}, 0b011};
  return {
      {"attention that is causal", "Attention", {q, k, v}, {"y"}, {{"is_causal", 1}}},
      {"attention behind a past", "Attention", {q, k, v, none, past_k, past_v}, {"y", "k1", "v1"}, {{"is_causal", 1}}},
      {"attention with scores",
       "Attention",
       {q, k, v, {"m", {3, 8}, 0b11}, past_k, past_v},
       {"y", "k1", "v1", "s"},
       {{"is_causal", 1}, {"qk_matmul_output_mode", 3}}},
      {"attention with padding", "Attention", {q, k, v, none, none, none, {"n", {2}, 1, 7}}, {"y"}},
      {"attention with padding that is causal",
       "Attention",
       {q, k, v, none, none, none, {"n", {2}, 1, 7}},
       {"y"},
       {{"is_causal", 1}}},
      {"attention with a short mask", "Attention", {q, k, v, {"m", {3, 2}, 0b11, 9}}, {"y"}},
      {"attention of three dimensions",
       "Attention",
       {packed, {"k", {2, 3, 4}, 0b011}, {"v", {2, 3, 6}, 0b011}},
       {"y"},
       {{"q_num_heads", 4}, {"kv_num_heads", 2}}},
      {"lstm",
       "LSTM",
       {x, {"w", {2, 24, 5}}, {"r", {2, 24, 6}}, {"b", {2, 48}}, lengths},
       {"y", "h", "c"},
       {{"hidden_size", 6}},
       {{"direction", "bidirectional"}}},
      {"lstm that is clipped",
       "LSTM",
       {x, {"w", {1, 24, 5}}, {"r", {1, 24, 6}}, none, lengths},
       {"y", "h", "c"},
       {},
       {{"direction", "reverse"}},
       {{"clip", 0.25F}}},
      {"gru with the batch first",
       "GRU",
       {{"x", {3, 4, 5}, 0b011}, {"w", {1, 18, 5}}, {"r", {1, 18, 6}}},
       {"y", "h"},
       {{"layout", 1}, {"linear_before_reset", 1}}},
      {"rnn", "RNN", {x, {"w", {1, 6, 5}}, {"r", {1, 6, 6}}, none, lengths}, {"y", "h"}},
      {"rotary embedding",
       "RotaryEmbedding",
       {{"x", {2, 3, 16}, 0b011}, {"c", {9, 4}, 1}, {"s", {9, 4}, 1}, {"p", {2, 3}, 3, 7}},
       {"y"},
       {{"num_heads", 2}, {"interleaved", 1}}},
      {"linear attention",
       "LinearAttention",
       {packed,
        {"k", {2, 3, 4}, 0b011},
        {"v", {2, 3, 6}, 0b011},
        none,
        {"g", {2, 3, 2}, 0b011},
        {"b", {2, 3, 1}, 0b011}},
       {"y", "s"},
       {{"q_num_heads", 4}, {"kv_num_heads", 2}}},
      {"causal convolution", "CausalConvWithState", {{"x", {2, 3, 7}, 0b101}, {"w", {3, 1, 4}}}, {"y", "s"}},
  };
}

TEST(OnnxSequences, SizesMayBeKnownLater) {
  const unsigned number = seed();
  SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(number));
  std::mt19937 random(number);
  for (const SequenceCase& c : cases()) {
    const std::vector<HostTensor> inputs = random_inputs(c, random);
    try {
      const Graph open = import_proto(model_of(c, true)), known = import_proto(model_of(c, false));
      EXPECT_FALSE(open.bound()) << c.name;
      for (const GraphOutput& output : known.outputs())
        EXPECT_TRUE(known.type(output.value).shape.known()) << c.name << ' ' << output.name;
      const std::vector<HostTensor> got = run(open, inputs), wanted = run(known, inputs);
      ASSERT_EQ(got.size(), wanted.size());
      for (std::size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].shape, wanted[i].shape) << c.name;
        const std::vector<float> a = floats_of(got[i]), b = floats_of(wanted[i]);
        for (std::size_t at = 0; at < b.size(); ++at) EXPECT_NEAR(a[at], b[at], 1e-6) << c.name << " output " << i;
      }
    } catch (const Error& error) {
      ADD_FAILURE() << c.name << ": " << error.what();
    }
  }
}

// `change` makes the case wrong.
struct Refused {
  const char* from;
  void (*change)(SequenceCase& c);
  const char* says;
};
const Refused kRefused[] = {
    {"attention of three dimensions",
     [](SequenceCase& c) {
       c.integers = {{"q_num_heads", 3}, {"kv_num_heads", 2}};
     },
     "q_num_heads is 3 for an operand [2, 3, 8]"},
    {"attention of three dimensions", [](SequenceCase& c) { c.integers = {}; }, "q_num_heads is 0 for an operand"},
    {"attention behind a past", [](SequenceCase& c) { c.operands.pop_back(); },
     "a past key needs a past value, and the other way round"},
    {"attention with scores",
     [](SequenceCase& c) {
       c.integers = {{"qk_matmul_output_mode", 4}};
     },
     "qk_matmul_output_mode is 4"},
    {"lstm",
     [](SequenceCase& c) {
       c.integers = {{"hidden_size", 5}};
     },
     "hidden_size is 5, R is [2, 24, 6]"},
    {"lstm",
     [](SequenceCase& c) {
       c.texts = {{"direction", "sideways"}};
     },
     "direction 'sideways'"},
    {"lstm", [](SequenceCase& c) { c.texts = {}; }, "W [2, 24, 5] wants 1 directions of 4 gates of 6"},
    {"lstm",
     [](SequenceCase& c) {
       c.operands[2].dims = {2, 24, 0};
     },
     "a hidden size of 0"},
    {"lstm that is clipped",
     [](SequenceCase& c) {
       c.numbers = {{"clip", -1.0F}};
     },
     "clip is -1"},
    {"rotary embedding",
     [](SequenceCase& c) {
       c.integers = {{"num_heads", 5}};
     },
     "num_heads is 5"},
    {"rotary embedding",
     [](SequenceCase& c) {
       c.integers = {{"num_heads", 2}, {"rotary_embedding_dim", 10}};
     },
     "rotary_embedding_dim is 10 for heads of 8"},
    {"linear attention",
     [](SequenceCase& c) {
       c.texts = {{"update_rule", "delta"}};
     },
     "update_rule 'delta' takes no decay"},
    {"linear attention", [](SequenceCase& c) { c.operands.pop_back(); }, "update_rule 'gated_delta' needs beta"},
    {"linear attention",
     [](SequenceCase& c) {
       c.integers = {{"q_num_heads", 4}, {"kv_num_heads", 3}};
     },
     "4 heads of queries for 3 of keys"},
    {"causal convolution",
     [](SequenceCase& c) {
       c.texts = {{"activation", "gelu"}};
     },
     "activation 'gelu'"},
    {"causal convolution",
     [](SequenceCase& c) {
       c.operands[1].dims = {3, 1, 0};
     },
     "a weight [3, 1, 0]"},
};

TEST(OnnxSequences, RefuseWithWhatIsWrong) {
  for (const Refused& r : kRefused) {
    for (SequenceCase& c : cases()) {
      if (std::string_view(c.name) != r.from) continue;
      r.change(c);
      const std::string said = message_of(model_of(c, false));
      EXPECT_NE(said.find(r.says), std::string::npos) << r.from << " says: " << said;
    }
  }
}

TEST(OnnxSequences, ActivationsAreNamedInAnyCaseOrRefused) {
  for (SequenceCase& c : cases()) {
    if (std::string_view(c.name) != "rnn") continue;
    const auto with = [&](std::initializer_list<const char*> names) {
      Model model = model_of(c, false);
      auto& attribute = add_attribute(*model.mutable_graph()->mutable_node(0), "activations");
      for (const char* name : names) attribute.add_strings(name);
      return message_of(model);
    };
    EXPECT_EQ(with({"tANH"}), "imported");
    EXPECT_NE(with({"Swish"}).find("activation 'Swish', which is not supported"), std::string::npos);
    EXPECT_NE(with({"Tanh", "Relu"}).find("2 activations, wanted 1"), std::string::npos);
  }
}

}  // namespace
}  // namespace ml
