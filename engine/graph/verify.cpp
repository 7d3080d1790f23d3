// What a graph promises, checked for graphs that anyone may have written.
//
// Nothing is trusted before it has been looked at: ids before they index, attributes before a shape rule reads them,
// subgraphs before the node that carries them.
#include <algorithm>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>

#include "engine/graph/graph.h"
#include "engine/graph/limits.h"
#include "ml/error.h"

namespace ml {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error(Code::invalid_argument, what); }

std::string text(const TensorType& type) { return std::string(dtype_name(type.dtype)) + type.shape.str(); }

void check_constant(const ConstantData& constant) {
  check_type({constant.dtype, constant.shape});
  if (!constant.shape.known()) fail("a constant has the unknown shape " + constant.shape.str());
  if (constant.blob == nullptr) fail("a constant has no bytes");
  const std::uint64_t size = constant.blob->size(), length = constant.length();
  if (length > size || constant.offset > size - length) {
    fail("a constant's bytes [" + std::to_string(constant.offset) + ", +" + std::to_string(length) +
         ") lie outside of a blob of " + std::to_string(size) + " bytes");
  }
}

// Checks the fields of attributes that mean the same in every op, and collects the subgraphs.
class FieldCheck final : public AttributeVisitor {
 public:
  std::vector<const Graph*> bodies;
  void field(const char*, bool&) override {}
  void field(const char*, std::int64_t&) override {}
  void field(const char*, double&) override {}
  void field(const char*, Ints&) override {}
  void field(const char*, DType& dtype) override { check_type({dtype, {}}); }
  void field(const char*, Shape& shape) override { check_type({DType::u8, shape}); }
  void field(const char* name, GraphPtr& graph) override {
    if (graph == nullptr) fail(std::string("its ") + name + " is missing");
    bodies.push_back(graph.get());
  }
  void field(const char* name, ConstantPtr& constant) override {
    if (constant == nullptr) fail(std::string("its ") + name + " is missing");
    check_constant(*constant);
  }
};

// A subgraph is verified once, however many nodes share it.
struct Extent {
  int height = 0;           // levels of subgraphs below
  std::uint64_t nodes = 0;  // with every subgraph written out
};
using Seen = std::unordered_map<const Graph*, Extent>;

Extent check_graph(const Graph& graph, int depth, Seen& seen);

[[noreturn]] void too_deep() { fail("subgraphs are nested more than " + std::to_string(kMaxGraphDepth) + " deep"); }
[[noreturn]] void too_many() { fail("the graph has more than 2^24 nodes with its subgraphs"); }

Extent check_body(const Graph& body, int depth, Seen& seen) {
  const auto found = seen.find(&body);
  Extent extent;
  if (found != seen.end()) {
    extent = found->second;
  } else {
    if (depth > kMaxGraphDepth) too_deep();
    if (!body.donations().empty()) fail("subgraph '" + body.name + "' donates; only the outermost graph can");
    extent = check_graph(body, depth, seen);
    seen.emplace(&body, extent);
  }
  if (depth + extent.height > kMaxGraphDepth) too_deep();
  return extent;
}

void check_attributes_type(const Op& op, const Attributes& attributes) {
  static const std::unordered_map<const Op*, const std::type_info*> types = [] {
    std::unordered_map<const Op*, const std::type_info*> table;
    for (const Op* row : all_ops()) {
      const std::unique_ptr<Attributes> made = row->make_attributes ? row->make_attributes() : nullptr;
      const std::type_info* type = &typeid(NoAttributes);
      if (made) {
        const Attributes& example = *made;
        type = &typeid(example);
      }
      table.emplace(row, type);
    }
    return table;
  }();
  const auto found = types.find(&op);
  if (found == types.end()) fail("its op is no row of the table");
  if (*found->second != typeid(attributes)) fail("it carries the attributes of another op");
}

// Answers the extent of the node's subgraphs.
Extent check_node(const Graph& graph, std::uint32_t index, ValueId first_free, int depth, Seen& seen) {
  const Node& node = graph.nodes()[index];
  if (node.attributes == nullptr) fail("it has no attributes");
  check_attributes_type(*node.op, *node.attributes);
  if (node.first_output < first_free || node.first_output > graph.values().size() ||
      node.output_count > graph.values().size() - node.first_output) {
    fail("its outputs are not values of the graph in order");
  }
  for (const ValueId input : node.inputs) {
    // Values are numbered as they come into being: a smaller number is an earlier one.
    if (input >= node.first_output) fail("its input %" + std::to_string(input) + " comes later or not at all");
  }
  FieldCheck fields;
  inspect(*node.attributes, fields);
  Extent below;
  for (const Graph* body : fields.bodies) {
    const Extent extent = check_body(*body, depth + 1, seen);
    below.height = std::max(below.height, extent.height + 1);
    below.nodes += extent.nodes;
    if (below.nodes > kMaxGraphNodes) too_many();
  }
  const std::vector<TensorType> types = infer(*node.op, types_of(graph, node.inputs), *node.attributes);
  if (types.size() != node.output_count) {
    fail("it has " + std::to_string(node.output_count) + " outputs, its shape rule answers " +
         std::to_string(types.size()));
  }
  for (std::uint32_t i = 0; i < node.output_count; ++i) {
    const Value& value = graph.values()[node.output(i)];
    if (value.producer != index || value.output != i) {
      fail("its output %" + std::to_string(node.output(i)) + " belongs to another node");
    }
    check_type(value.type);
    if (value.type != types[i]) {
      fail("its output " + std::to_string(i) + " is " + text(value.type) + ", its shape rule answers " +
           text(types[i]));
    }
  }
  return below;
}

void check_length(std::string_view name, const std::string& what) {
  if (name.size() <= kMaxNameBytes) return;
  fail(what + " has a name of " + std::to_string(name.size()) + " bytes, at most " + std::to_string(kMaxNameBytes) +
       " are possible");
}

void check_name(std::unordered_set<std::string_view>& names, std::string_view name, const char* what) {
  check_length(name, std::string(what) + " " + std::to_string(names.size()));
  if (name.empty()) fail(std::string(what) + " " + std::to_string(names.size()) + " has no name");
  if (!names.insert(name).second) fail(std::string("two ") + what + "s are named '" + std::string(name) + "'");
}

void check_inputs(const Graph& graph) {
  std::unordered_set<std::string_view> names;
  for (std::uint32_t i = 0; i < graph.inputs().size(); ++i) {
    const GraphInput& input = graph.inputs()[i];
    check_name(names, input.name, "input");
    const std::string name = "input '" + input.name + "'";
    if (input.value >= graph.values().size()) fail(name + " is no value of the graph");
    const Value& value = graph.values()[input.value];
    if (value.producer != kNoNode || value.output != i) fail(name + " is a value that something else produces");
    check_type(value.type);
    const Shape& shape = value.type.shape;
    if (input.symbols.empty()) continue;
    if (input.symbols.size() != static_cast<std::size_t>(shape.rank())) {
      fail(name + " has " + std::to_string(input.symbols.size()) + " symbols for " + text(value.type));
    }
    for (int d = 0; d < shape.rank(); ++d) {
      const std::string& symbol = input.symbols[static_cast<std::size_t>(d)];
      check_length(symbol, "the extent of dimension " + std::to_string(d) + " of " + name);
      if (!symbol.empty() && shape[d] != kUnknown) {
        fail(name + ": symbol '" + symbol + "' names the extent " + std::to_string(shape[d]) + ", which is known");
      }
    }
  }
}

void check_outputs(const Graph& graph) {
  std::unordered_set<std::string_view> names;
  for (const GraphOutput& output : graph.outputs()) {
    check_name(names, output.name, "output");
    if (output.value >= graph.values().size()) fail("output '" + output.name + "' is no value of the graph");
  }
}

// An input's buffer becomes one output's; that output may be the input itself, but no other's and no other input.
void check_donations(const Graph& graph) {
  std::unordered_set<std::uint32_t> inputs, outputs;
  std::unordered_set<ValueId> values;
  for (const Donation& donation : graph.donations()) {
    if (donation.input >= graph.inputs().size() || donation.output >= graph.outputs().size()) {
      fail("donation of input " + std::to_string(donation.input) + " to output " + std::to_string(donation.output) +
           ": the graph has " + std::to_string(graph.inputs().size()) + " inputs and " +
           std::to_string(graph.outputs().size()) + " outputs");
    }
    const GraphInput& from = graph.inputs()[donation.input];
    const GraphOutput& to = graph.outputs()[donation.output];
    const std::string what = "donation of '" + from.name + "' to '" + to.name + "': ";
    if (graph.type(from.value) != graph.type(to.value)) {
      fail(what + "their types differ: " + text(graph.type(from.value)) + " and " + text(graph.type(to.value)));
    }
    if (!inputs.insert(donation.input).second) fail(what + "the input has already been donated");
    if (!outputs.insert(donation.output).second) fail(what + "the output already has a buffer");
    if (!values.insert(to.value).second) fail(what + "the output's value is already in another donated buffer");
    if (to.value != from.value && graph.producer(to.value) == nullptr) fail(what + "the output is another input");
  }
}

Extent check_graph(const Graph& graph, int depth, Seen& seen) {
  check_length(graph.name, "a graph");
  const std::string where = "graph '" + graph.name + "'";
  Extent extent{0, graph.nodes().size()};
  try {
    check_inputs(graph);
    check_outputs(graph);
  } catch (const Error& error) {
    throw error.within(where);
  }
  ValueId first_free = 0;
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.nodes()[i];
    try {
      if (node.op == nullptr) fail("it has no op");
      const Extent below = check_node(graph, i, first_free, depth, seen);
      extent.height = std::max(extent.height, below.height);
      extent.nodes += below.nodes;
      if (extent.nodes > kMaxGraphNodes) too_many();
      first_free = node.first_output + node.output_count;
    } catch (const Error& error) {
      const std::string name = node.op == nullptr ? "?" : std::string(node.op->name);
      throw error.within(where + ", node " + std::to_string(i) + " (" + name + ")");
    }
  }
  try {
    check_donations(graph);
  } catch (const Error& error) {
    throw error.within(where);
  }
  return extent;
}

}  // namespace

void check_type(const TensorType& type, std::string_view where) {
  const auto refuse = [where](const std::string& what) {
    throw Error(Code::invalid_argument, what, std::string(where));
  };
  if (!is_dtype(static_cast<std::uint32_t>(type.dtype)))
    refuse("there is no dtype " + std::to_string(static_cast<int>(type.dtype)));
  // Extents of zero do not shrink it: strides are products of the others.
  auto bytes = static_cast<std::int64_t>(dtype_size(type.dtype));
  for (const std::int64_t extent : type.shape.dims()) {
    if (extent < 0 && extent != kUnknown) refuse("a dimension cannot be " + std::to_string(extent));
    if (extent > 0 && (__builtin_mul_overflow(bytes, extent, &bytes) || bytes > kMaxTensorBytes))
      refuse(text(type) + " is larger than 2^48 bytes");
  }
}

void verify(const Graph& graph) {
  Seen seen;
  check_graph(graph, 0, seen);
}

}  // namespace ml
