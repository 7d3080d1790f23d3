// The names of one ONNX graph, subgraph or function body, and the import of its nodes.
//
// A subgraph's scope lies in the scope of the node that carries it: a name that it doesn't define itself is looked up
// outside. It may be imported into the graph of that node, as the chosen branch of an If or a turn of an unrolled loop
// is, or into a body of its own, which then captures what it uses. A function's body sees its own names alone, and its
// nodes see the attributes of the call; it is written out wherever it is called.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "engine/formats/onnx/node.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/sparse.h"
#include "engine/formats/onnx/target.h"
#include "engine/formats/onnx/value.h"

namespace ml::onnx {

using Versions = std::map<std::string, int, std::less<>>;  // of the operator sets, by domain; "" is ONNX's own
Versions versions_of(const google::protobuf::RepeatedPtrField<pb::OperatorSet>& sets);
// "ai.onnx" is another name of "".
std::string_view domain_of(const pb::Node& node);

// What all scopes of one import share.
class Session {
 public:
  Session(const pb::Model& model, Files files);

  const pb::Model& model;
  Files files;
  std::uint64_t sparse_room = kSparseRoom;
  Budget budget;

  // The model's function that `node` calls, or null.
  const pb::Function* function(const pb::Node& node) const;

 private:
  std::map<std::tuple<std::string_view, std::string_view, std::string_view>, const pb::Function*> functions_;
};

class Scope {
 public:
  // An attribute of the call that a function's body refers to, and the scope it was written in.
  struct Bound {
    const pb::Attribute* attribute;
    Scope* scope;
  };
  using Bindings = std::map<std::string, Bound, std::less<>>;

  Scope(Session& session, Target& target, const Versions& versions, Scope* outer = nullptr,
        const Bindings* bindings = nullptr)
      : session_(session), target_(target), versions_(versions), outer_(outer), bindings_(bindings) {}

  Session& session() const { return session_; }
  Target& target() const { return target_; }

  // `what` is said of the place where a name is defined a second time.
  void define(const std::string& name, Value value, const std::string& what);
  bool defines(const std::string& name) const { return names_.count(name) != 0; }
  // The value in this scope's target; throws corrupt, with the user, when nothing defines the name.
  Value value(const std::string& name, const std::string& user);

  void import_initializers(const pb::Graph& graph);
  void import_nodes(const google::protobuf::RepeatedPtrField<pb::Node>& nodes);
  // A whole subgraph: its results on these arguments.
  std::vector<Value> import_subgraph(const pb::Graph& graph, std::span<const Value> arguments, Target& target);

  // The attribute itself, or what a function's call says in its place; no attribute when the call says nothing.
  Bound resolve(const pb::Attribute& attribute);

 private:
  struct Definition {
    Value value;
    std::string what;
  };

  const Definition* find(const std::string& name) const;
  void import_node(const pb::Node& node, const std::string& where);
  std::vector<Value> results_of(const pb::Node& node, std::span<const Value> inputs);
  std::vector<Value> call(const pb::Function& function, const pb::Node& node, std::span<const Value> inputs);

  Session& session_;
  Target& target_;
  const Versions& versions_;
  Scope* outer_;
  const Bindings* bindings_;
  std::unordered_map<std::string, Definition> names_;
};

}  // namespace ml::onnx
