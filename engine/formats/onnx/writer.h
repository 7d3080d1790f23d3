// What the exporter of one op sees: the node, the names of its values, and a way to add ONNX nodes.
#pragma once

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
}

using Attribute = std::variant<std::int64_t, double, std::string, Ints>;
using NamedAttributes = std::vector<std::pair<const char*, Attribute>>;

class Writer {
 public:
  Writer(const Graph& from, pb::Graph& proto) : graph(from), proto_(proto), uses_(use_counts(from)) {}

  const Graph& graph;

  // How often nodes and outputs of the graph read a value.
  std::uint32_t uses(ValueId value) const { return uses_[value]; }

  // The name of a value of the graph: that of the input or output it is, otherwise a number.
  const std::string& name(ValueId value) const { return names_[value]; }
  // `taken` are all names in use: fresh ones avoid them.
  void set_names(std::vector<std::string> names, std::set<std::string> taken) {
    names_ = std::move(names);
    taken_ = std::move(taken);
  }

  // Adds a node that answers `output`, or a fresh name when it is empty; answers the name.
  std::string add(std::string_view op_type, const std::vector<std::string>& inputs,
                  const NamedAttributes& attributes = {}, std::string output = {});
  // The same for several outputs.
  void add_all(std::string_view op_type, const std::vector<std::string>& inputs, const NamedAttributes& attributes,
               const std::vector<std::string>& outputs);
  // A name that no value has.
  std::string fresh_name() { return fresh('t'); }
  // An initializer with these numbers.
  std::string integers(const Ints& values);
  std::string number(DType dtype, double value);
  std::string tensor(const ConstantData& constant);

 private:
  pb::Graph& proto_;
  std::vector<std::uint32_t> uses_;
  std::vector<std::string> names_;
  std::string fresh(char kind);
  std::set<std::string> taken_;
  int count_ = 0;
};

// One row: how an op is written. Null where the attributes at hand have no counterpart in ONNX.
struct OpWriter {
  std::string_view op;
  // The inputs' names and the names that the outputs must get.
  void (*write)(Writer& writer, const Node& node, const std::vector<std::string>& inputs,
                const std::vector<std::string>& outputs);
  bool (*accepts)(const Graph& graph, const Node& node) = nullptr;
  int opset = 0;  // what is written needs this version of the operator set
  // Nodes before this one whose work its row does too, from the last to the first: those that nothing else needs are
  // not written. Null: none.
  std::vector<const Node*> (*absorbed)(const Graph& graph, const Node& node) = nullptr;
};
std::span<const OpWriter> element_writers();
std::span<const OpWriter> structure_writers();
std::span<const OpWriter> recurrent_writers();
const OpWriter* find_writer(const Graph& graph, const Node& node);

}  // namespace ml::onnx
