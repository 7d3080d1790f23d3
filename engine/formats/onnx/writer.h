// What the exporter of one op sees: the node, the names of its values, and a way to add ONNX nodes.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/graph/graph.h"

namespace ml::onnx {

namespace pb {
class Graph;
class Model;
class Tensor;
class ValueInfo;
}  // namespace pb

using GraphProto = std::shared_ptr<const pb::Graph>;
using Attribute = std::variant<std::int64_t, double, std::string, Ints, GraphProto>;
using NamedAttributes = std::vector<std::pair<const char*, Attribute>>;

// What the graphs of one model share.
struct ModelParts {
  pb::Model& proto;
  std::set<std::string> taken;  // names in use, of the graph and of all bodies: ONNX wants those to differ
  int count = 0;
  int target = 0;  // the operator set that is written for
  int opset = 0;   // that what was written so far needs: where it is later, all is written again for that one
  std::vector<std::pair<std::string, ConstantPtr>> large;  // initializers that follow the model, of bodies too
  // Rows that are written as functions, each alone in a graph, and what they are called.
  std::vector<std::pair<Graph, std::string>> functions = {};
};

struct OpWriter;

class Writer {
 public:
  // `input_names` are those of the values that `from` takes.
  Writer(const Graph& from, pb::Graph& proto, ModelParts& model, const std::vector<std::string>& input_names);

  const Graph& graph;

  // How often nodes and outputs of the graph read a value.
  std::uint32_t uses(ValueId value) const { return uses_[value]; }

  // The name of a value of the graph: that of the input it is, or what name_value() said, otherwise a fresh one.
  const std::string& name(ValueId value) const { return names_[value]; }
  // Before nodes are written.
  void name_value(ValueId value, const std::string& as) { names_[value] = as; }
  // Every node that is not absorbed by another.
  void write_nodes();

  // Adds a node that answers `output`, or a fresh name when it is empty; answers the name.
  std::string add(std::string_view op_type, const std::vector<std::string>& inputs,
                  const NamedAttributes& attributes = {}, std::string output = {});
  // The same for several outputs.
  void add_all(std::string_view op_type, const std::vector<std::string>& inputs, const NamedAttributes& attributes,
               const std::vector<std::string>& outputs);
  // A name that no value has.
  std::string fresh_name() { return fresh('t'); }
  // An initializer with these numbers, once a node takes it as an input; earlier operator sets have it as an attribute.
  std::string integers(const Ints& values);
  std::string number(DType dtype, double value);
  std::string tensor(const ConstantData& constant);

  // A body as an attribute. Its last inputs are values outside, which it calls by these names.
  GraphProto body(const Graph& body, const std::vector<std::string>& captured);
  // A body written into this graph; answers the names of its outputs.
  std::vector<std::string> inlined(const Graph& body, const std::vector<std::string>& arguments);

 private:
  pb::Graph& proto_;
  ModelParts& model_;
  std::vector<std::uint32_t> uses_;
  std::vector<std::string> names_;
  std::map<std::string, ConstantPtr> waiting_;  // initializers that no node takes yet
  std::string fresh(char kind);
  std::string later(ConstantPtr constant);
  void want(const std::string& name);
  std::set<const Node*> absorbed_nodes() const;
  // Calls the function that is `row` for operands like these.
  void call(const OpWriter& row, const Node& node, const std::vector<std::string>& inputs,
            const std::vector<std::string>& outputs);
  std::string function_of(const OpWriter& row, const Node& node, const NamedAttributes& attributes);
};

// The operator set that brought `op_type` in the form that is written here, or the attribute; 0 where neither needs a
// later one than kEarliestOpset.
int opset_of(std::string_view op_type);
int opset_of(std::string_view op_type, std::string_view attribute);
// The operator set that brought an element type to all operators that take it here.
int opset_of(DType dtype);
// The operator set that has the element types of a row for what it is written as, from kEarliestOpset on.
int opset_of_types(const Graph& graph, const Node& node);
// The attribute that is input `i` of `op_type` in operator set `opset`; null where it is an input.
const char* attribute_of_input(std::string_view op_type, std::size_t i, int opset);

// What a graph takes or answers.
void describe(pb::ValueInfo& info, const std::string& name, const TensorType& type,
              const std::vector<std::string>& symbols = {});
// All of a tensor but its elements.
void describe(pb::Tensor& tensor, const std::string& name, const ConstantData& constant);

// One row: how an op is written. Null where the attributes at hand have no counterpart in ONNX.
struct OpWriter {
  std::string_view op;
  // The inputs' names and the names that the outputs must get.
  void (*write)(Writer& writer, const Node& node, const std::vector<std::string>& inputs,
                const std::vector<std::string>& outputs);
  bool (*accepts)(const Graph& graph, const Node& node) = nullptr;
  // Nodes before this one whose work its row does too, each behind what reads it: those that nothing else needs are not
  // written. Null: none.
  std::vector<const Node*> (*absorbed)(const Graph& graph, const Node& node) = nullptr;
  // The attributes with which a function of kRowDomain is called that holds what is written, so that the importer finds
  // the row again. Null: what is written stands where the row does.
  NamedAttributes (*called_with)(const Node& node) = nullptr;
};
// Rows that look at how an operand is made come first.
std::span<const OpWriter> quantized_writers();
std::span<const OpWriter> element_writers();
std::span<const OpWriter> function_writers();
std::span<const OpWriter> structure_writers();
std::span<const OpWriter> recurrent_writers();
std::span<const OpWriter> control_writers();
// Windows, padding and groups of a convolution.
NamedAttributes convolution_attributes(Writer& writer, const Node& node);
const OpWriter* find_writer(const Graph& graph, const Node& node);

}  // namespace ml::onnx
