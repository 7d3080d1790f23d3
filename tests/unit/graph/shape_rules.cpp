#include <gtest/gtest.h>

#include <charconv>
#include <random>
#include <set>

#include "engine/graph/ops/rules.h"
#include "ml/error.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {

Var in(Graph& graph, std::string_view type) {
  const std::size_t bracket = type.find('[');
  Shape shape;
  for (std::size_t at = bracket + 1; at < type.size() && type[at] != ']';) {
    std::int64_t extent = kUnknown;
    const auto end = std::min(type.find(',', at), type.find(']', at));
    if (type[at] != '?') std::from_chars(type.data() + at, type.data() + end, extent);
    shape.append(extent);
    at = type[end] == ',' ? end + 2 : end;
  }
  return input(graph, "x" + std::to_string(graph.inputs().size()), parse_dtype(type.substr(0, bracket)), shape);
}

std::string text(const TensorType& type) { return rules::text(type); }

std::vector<ShapeCase> all_shape_cases() {
  std::vector<ShapeCase> all;
  for (const auto cases : {elementwise_cases(), matmul_cases(), reduce_cases(), movement_cases(), indexing_cases(),
                           network_cases(), softmax_cases(), norm_cases(), sequence_cases(), random_cases(),
                           optimizer_cases(), detection_cases(), quantize_cases(), control_cases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

namespace {

bool refused(const ShapeCase& c) { return c.expects[0] == '!'; }

std::string outputs_of(Var x) {
  const Node* node = x.graph->producer(x.id);
  if (node == nullptr) return text(x.type());
  std::string types;
  for (std::uint32_t i = 0; i < node->output_count; ++i) {
    types += (i > 0 ? " " : "") + text(x.graph->type(node->output(i)));
  }
  return types;
}

TEST(ShapeRules, AnswerOrRefuseAsTheTableSays) {
  for (const ShapeCase& c : all_shape_cases()) {
    Graph graph;
    std::string said;
    try {
      said = outputs_of(c.build(graph));
    } catch (const Error& error) {
      said = std::string("! ") + error.what();
    }
    if (refused(c)) {
      const std::string_view wanted = std::string_view(c.expects).substr(2);
      EXPECT_TRUE(said.starts_with("! ") && said.find(wanted) != said.npos) << c.name << "\n  says: " << said;
    } else {
      EXPECT_EQ(said, c.expects) << c.name;
    }
  }
}

// What a rule makes of less knowledge must not contradict what it makes of more.
TEST(ShapeRules, PropagateUnknownExtentsConsistently) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const ShapeCase& c : all_shape_cases()) {
    if (refused(c)) continue;
    Graph graph;
    c.build(graph);
    for (const Node& node : graph.nodes()) {
      for (int round = 0; round < 10; ++round) {
        std::vector<TensorType> inputs = types_of(graph, node.inputs);
        std::string less;
        for (TensorType& type : inputs) {
          for (int d = 0; d < type.shape.rank(); ++d) {
            // The length of a shape operand is the rank of the result, which is always known.
            const bool shape_operand = node.op->kind == OpKind::dynamic && &type != &inputs[0];
            if (!shape_operand && random() % 2 == 0) type.shape[d] = kUnknown;
          }
          less += " " + text(type);
        }
        std::vector<TensorType> types;
        try {
          types = infer(*node.op, inputs, *node.attributes);
        } catch (const Error& error) {
          ADD_FAILURE() << c.name << ": " << node.op->name << " of" << less << " refuses: " << error.what();
          continue;
        }
        ASSERT_EQ(types.size(), node.output_count) << c.name;
        for (std::uint32_t i = 0; i < node.output_count; ++i) {
          const TensorType& known = graph.type(node.output(i));
          EXPECT_TRUE(types[i].dtype == known.dtype && rules::same_shape(types[i].shape, known.shape))
              << c.name << ": " << node.op->name << " of" << less << " is " << text(types[i]) << ", should be "
              << text(known);
        }
      }
    }
  }
}

struct DTypesOf {
  const char* ops;  // separated by spaces
  bool (*takes)(DType);
  bool answers_boolean;
};
bool number(DType dtype) { return dtype != DType::boolean && !is_narrow(dtype); }
bool integer(DType dtype) { return is_integer(dtype) && !is_narrow(dtype); }
bool boolean(DType dtype) { return dtype == DType::boolean; }
bool any(DType) { return true; }

const DTypesOf kElementwiseDTypes[] = {
    {"neg abs sign add sub mul div rem maximum minimum", number, false},
    {"exp expm1 log log1p sqrt rsqrt reciprocal sin cos tan asin acos atan sinh cosh tanh erf sigmoid floor ceil round "
     "pow atan2",
     is_differentiable, false},
    {"bit_not bit_and bit_or bit_xor shift_left shift_right", integer, false},
    {"logical_not logical_and logical_or logical_xor", boolean, true},
    {"is_nan is_inf", is_differentiable, true},
    {"lt le gt ge", number, true},
    {"eq ne", any, true},
};

std::set<std::string> words(std::string_view text) {
  std::set<std::string> result;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    result.emplace(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

TEST(ShapeRules, ElementwiseOpsTakeTheDTypesTheySay) {
  for (const DTypesOf& row : kElementwiseDTypes) {
    for (const std::string& name : words(row.ops)) {
      const Op& op = find_op(name);
      for (int number = 1; number <= kDTypeCount; ++number) {
        const auto dtype = static_cast<DType>(number);
        const std::vector<TensorType> inputs(op.min_inputs, {dtype, {2, 3}});
        if (!row.takes(dtype)) {
          EXPECT_THROW(infer(op, inputs, NoAttributes{}), Error) << name << " of " << dtype_name(dtype);
          continue;
        }
        const std::vector<TensorType> types = infer(op, inputs, NoAttributes{});
        const TensorType wanted{row.answers_boolean ? DType::boolean : dtype, {2, 3}};
        EXPECT_TRUE(types.size() == 1 && types[0] == wanted) << name << " of " << dtype_name(dtype);
      }
    }
  }
}

// A row that no table knows has an untested rule.
TEST(ShapeRules, EveryRowStandsInATable) {
  std::set<std::string_view> built, refusing;
  for (const DTypesOf& row : kElementwiseDTypes) {
    for (const std::string& name : words(row.ops)) {
      built.insert(find_op(name).name);
      refusing.insert(find_op(name).name);
    }
  }
  for (const ShapeCase& c : all_shape_cases()) {
    if (refused(c)) {
      const std::string_view said = std::string_view(c.expects).substr(2);
      if (const Op* op = lookup_op(said.substr(0, said.find(':')))) refusing.insert(op->name);
    } else {
      Graph graph;
      c.build(graph);
      for (const Node& node : graph.nodes()) built.insert(node.op->name);
    }
  }
  for (const Op* op : all_ops()) {
    EXPECT_TRUE(built.contains(op->name)) << op->name << " is built by no case";
    // A cast takes everything, and so does what only looks at shapes.
    const bool takes_everything = op->name == "cast" || op->name == "shape_of";
    EXPECT_TRUE(takes_everything || refusing.contains(op->name)) << op->name << " is refused in no case";
  }
}

}  // namespace
}  // namespace ml::test
