#include "engine/formats/onnx/needs.h"

#include <map>
#include <set>
#include <string>

#include "engine/formats/onnx/order.h"
#include "engine/formats/onnx/register.h"
#include "engine/formats/onnx/value_operators.h"
#include "ml/error.h"

namespace ml::onnx {
namespace {

constexpr std::size_t kDeepestCall = 64;

class Needs {
 public:
  explicit Needs(const Session& session) : session_(session) {}

  void visit(const pb::Graph& graph, const Versions& versions, const std::string& place) {
    visit(graph.node(), versions, place);
  }

  void refuse() const {
    if (missing_.empty()) return;
    std::string text;
    for (const auto& [op, nodes] : missing_) text += (text.empty() ? "" : "; ") + op + " in " + nodes;
    throw Error(Code::unsupported, "operators that are not supported: " + text, {},
                foreign_ ? "give a file whose functions say what they mean" : "");
  }

 private:
  void visit(const google::protobuf::RepeatedPtrField<pb::Node>& nodes, const Versions& versions,
             const std::string& place) {
    for (int i = 0; i < nodes.size(); ++i) {
      const pb::Node& node = nodes[i];
      const std::string where = place + (node.name().empty() ? "#" + std::to_string(i) : "'" + node.name() + "'");
      visit(node, versions, where);
      for (const pb::Attribute& attribute : node.attribute()) {
        if (attribute.has_g()) visit(attribute.g(), versions, where + " / ");
        for (const pb::Graph& graph : attribute.graphs()) visit(graph, versions, where + " / ");
      }
    }
  }

  void visit(const pb::Node& node, const Versions& versions, const std::string& where) {
    const std::string_view domain = domain_of(node);
    const auto declared = versions.find(domain);
    const int version = declared == versions.end() ? 0 : declared->second;
    if (find_operator(domain, node.op_type(), version) != nullptr) return;
    if (find_value_operator(domain, node.op_type(), version) != nullptr) return;
    if (find_registered(domain, node.op_type(), version) != nullptr) return;
    if (const pb::Function* function = session_.function(node)) return visit(*function, where);
    foreign_ = foreign_ || !is_reserved(domain);
    std::string& nodes =
        missing_[node.op_type() + " (domain '" + std::string(domain.empty() ? "ai.onnx" : domain) + "', " +
                 (version == 0 ? "which the model declares no version of" : "version " + std::to_string(version)) +
                 ")"];
    nodes += (nodes.empty() ? "" : ", ") + where;
  }

  void visit(const pb::Function& function, const std::string& where) {
    if (known_.count(&function) != 0) return;
    if (!calling_.insert(&function).second)
      throw Error(Code::corrupt, "the function " + describe(function) + " calls itself", where);
    if (calling_.size() > kDeepestCall) {
      throw Error(Code::unsupported, "functions call each other more than " + std::to_string(kDeepestCall) + " deep",
                  where);
    }
    visit(function.node(), versions_of(function.opset_import()), "function " + describe(function) + ", ");
    calling_.erase(&function);
    known_.insert(&function);
  }

  const Session& session_;
  std::map<std::string, std::string> missing_;
  bool foreign_ = false;  // whether some of them are of a domain that functions may explain
  std::set<const pb::Function*> calling_, known_;
};

}  // namespace

void check_needs(const Session& session, const Versions& versions) {
  Needs needs(session);
  needs.visit(session.model.graph(), versions, "");
  needs.refuse();
}

}  // namespace ml::onnx
