#include "engine/formats/onnx/import.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>

#include "engine/formats/onnx/node.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/settle.h"
#include "engine/formats/onnx/tensor.h"
#include "engine/formats/onnx/wire.h"
#include "ml/error.h"

namespace ml::onnx {
namespace {

std::string describe(const pb::Node& node, int index) {
  return "node " + std::to_string(index) + (node.name().empty() ? "" : " '" + node.name() + "'") + " (" +
         node.op_type() + ")";
}

bool default_domain(const std::string& domain) { return domain.empty() || domain == "ai.onnx"; }

class Importer {
 public:
  Importer(const pb::Model& model, std::shared_ptr<const Blob> file, const passes::Evaluate& evaluate)
      : model_(model), proto_(model.graph()), file_(std::move(file)), evaluate_(evaluate) {}

  Graph run() {
    if (!model_.has_graph()) throw Error(Code::corrupt, "the model has no graph", {}, "is this an ONNX file?");
    version_ = opset();
    refuse_missing();
    graph_.name = proto_.name().empty() ? "main" : proto_.name();
    for (const pb::Tensor& tensor : proto_.initializer()) {
      define(tensor.name(), {&graph_, graph_.add_constant(read_tensor(tensor, file_, ""))}, "initializer");
    }
    for (const pb::ValueInfo& input : proto_.input()) add_input(input);
    for (const int index : order()) import_node(index);
    for (const pb::ValueInfo& output : proto_.output())
      graph_.add_output(output.name(), value(output.name(), "output").id);
    verify(graph_);
    return std::move(graph_);
  }

 private:
  int opset() const {
    int version = 0;
    for (const pb::OperatorSet& set : model_.opset_import()) {
      if (default_domain(set.domain())) version = static_cast<int>(set.version());
    }
    if (version < 7 || version > kLatestOpset) {
      throw Error(Code::unsupported, "operator set " + std::to_string(version) + " is not supported", {},
                  "convert the model to operator set 7 to " + std::to_string(kLatestOpset));
    }
    return version;
  }

  // One error that names everything the model needs and we have not.
  void refuse_missing() const {
    std::map<std::string, std::string> missing;
    for (int i = 0; i < proto_.node_size(); ++i) {
      const pb::Node& node = proto_.node(i);
      const bool ours = default_domain(node.domain()) && find_operator(node.op_type(), version_) != nullptr;
      if (ours) continue;
      std::string& nodes =
          missing[node.op_type() + " (domain '" + (default_domain(node.domain()) ? "ai.onnx" : node.domain()) +
                  "', version " + std::to_string(version_) + ")"];
      nodes += (nodes.empty() ? "" : ", ") + (node.name().empty() ? "#" + std::to_string(i) : "'" + node.name() + "'");
    }
    if (proto_.sparse_initializer_size() > 0) missing["sparse initializers"] = "the graph";
    if (missing.empty()) return;
    std::string text;
    for (const auto& [op, nodes] : missing) text += (text.empty() ? "" : "; ") + op + " in " + nodes;
    throw Error(Code::unsupported, "operators that are not supported: " + text);
  }

  void define(const std::string& name, Var var, const char* what) {
    if (name.empty()) throw Error(Code::corrupt, std::string("an ") + what + " has no name");
    if (!values_.emplace(name, var).second) throw Error(Code::corrupt, "the name '" + name + "' is defined twice");
  }

  Var value(const std::string& name, const std::string& user) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw Error(Code::corrupt, "'" + name + "' is used but never defined", user);
    return found->second;
  }

  void add_input(const pb::ValueInfo& input) {
    if (values_.count(input.name()) != 0)
      return;  // an initializer that older models list as an input too: keep its value
    const std::string where = "input '" + input.name() + "'";
    if (!input.type().has_tensor_type())
      throw Error(Code::unsupported, "sequences, maps and optionals are not supported", where);
    const auto& tensor = input.type().tensor_type();
    if (!tensor.has_shape()) throw Error(Code::unsupported, "an input without a rank is not supported", where);
    Shape shape;
    std::vector<std::string> symbols;
    for (const auto& dim : tensor.shape().dim()) {
      const bool known = dim.has_dim_value() && dim.dim_value() >= 0;
      std::string symbol = known ? "" : dim.dim_param();
      if (!known && symbol.empty()) symbol = input.name() + "." + std::to_string(symbols.size());
      shape.append(known ? dim.dim_value() : kUnknown);
      symbols.push_back(symbol);
    }
    if (shape.known()) symbols.clear();
    define(input.name(),
           {&graph_, graph_.add_input(input.name(), {dtype_of(tensor.elem_type(), where), shape}, symbols)}, "input");
  }

  // Nodes in an order in which every input is defined before it is used; files need not be sorted.
  std::vector<int> order() const {
    std::unordered_map<std::string_view, int> producer;
    for (int i = 0; i < proto_.node_size(); ++i) {
      for (const std::string& name : proto_.node(i).output()) {
        if (!name.empty()) producer.emplace(name, i);
      }
    }
    std::vector<int> sorted;
    std::vector<char> state(static_cast<std::size_t>(proto_.node_size()), 0);  // 1: on the stack, 2: done
    std::vector<std::pair<int, int>> stack;                                    // node, next input
    for (int root = 0; root < proto_.node_size(); ++root) {
      if (state[static_cast<std::size_t>(root)] != 0) continue;
      stack.emplace_back(root, 0);
      state[static_cast<std::size_t>(root)] = 1;
      while (!stack.empty()) {
        const int node = stack.back().first;
        if (stack.back().second == proto_.node(node).input_size()) {
          state[static_cast<std::size_t>(node)] = 2;
          sorted.push_back(node);
          stack.pop_back();
          continue;
        }
        const auto found = producer.find(proto_.node(node).input(stack.back().second++));
        if (found == producer.end()) continue;
        char& seen = state[static_cast<std::size_t>(found->second)];
        if (seen == 1)
          throw Error(Code::corrupt, "the graph has a cycle", describe(proto_.node(found->second), found->second));
        if (seen == 0) {
          seen = 1;
          stack.emplace_back(found->second, 0);
        }
      }
    }
    return sorted;
  }

  void import_node(int index) {
    const pb::Node& node = proto_.node(index);
    const std::string where = describe(node, index);
    std::vector<Var> inputs;
    for (const std::string& name : node.input()) inputs.push_back(name.empty() ? Var{} : value(name, where));
    std::vector<Var> results;
    try {
      Settler settler(graph_, evaluate_);
      const NodeContext context(graph_, node, version_, inputs, file_, settler);
      results = find_operator(node.op_type(), version_)->import(context);
      for (Var& result : results) result = settler.settled(result);
    } catch (const Error& error) {
      throw error.within(where);
    }
    for (int i = 0; i < node.output_size(); ++i) {
      if (node.output(i).empty()) continue;
      if (static_cast<std::size_t>(i) >= results.size() || !results[static_cast<std::size_t>(i)]) {
        throw Error(Code::unsupported, "output " + std::to_string(i) + " is not supported", where);
      }
      define(node.output(i), results[static_cast<std::size_t>(i)], "output");
    }
  }

  const pb::Model& model_;
  const pb::Graph& proto_;
  std::shared_ptr<const Blob> file_;
  const passes::Evaluate& evaluate_;
  int version_ = 0;
  Graph graph_;
  std::unordered_map<std::string, Var> values_;
};

}  // namespace

Graph import_model(const std::shared_ptr<const Blob>& file, const passes::Evaluate& evaluate) {
  pb::Model model;
  if (!model.ParseFromString(lift_tensors(file->bytes()))) {
    throw Error(Code::corrupt, "not an ONNX model: a field has the wrong type", {},
                "is this an ONNX file, and complete?");
  }
  return Importer(model, file, evaluate).run();
}

}  // namespace ml::onnx
