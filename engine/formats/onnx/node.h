// What the importer of one operator sees: the ONNX node, its inputs, its attributes with their defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/onnx/target.h"
#include "engine/formats/onnx/value.h"

namespace ml::onnx {

namespace pb {
class Attribute;
class Graph;
class Node;
}  // namespace pb

class Scope;

// A graph that an attribute holds, with the scope whose names it may use.
class Subgraph {
 public:
  Subgraph(const pb::Graph& proto, Scope& scope) : proto_(proto), scope_(scope) {}

  std::size_t input_count() const;
  std::size_t output_count() const;
  // Imports it into `target`, on values of that graph or of one further out; the scope's own target: as if its nodes
  // stood beside the node that has it.
  std::vector<Value> import(std::span<const Value> arguments, Target& target) const;

 private:
  const pb::Graph& proto_;
  Scope& scope_;
};

class NodeContext {
 public:
  // `inputs` are values of `target.graph`.
  NodeContext(const pb::Node& node, Target& target, Scope& scope, int version, std::span<const Value> inputs);

  Graph& graph;
  const std::string& op_type() const;
  int version() const { return version_; }  // of the operator set the model declares
  std::size_t output_count() const;
  // True when output i has a name, that is, somebody may read it.
  bool wants_output(std::size_t i) const;
  const std::string& output_name(std::size_t i) const;  // empty where it has none

  std::size_t input_count() const { return inputs_.size(); }
  bool has(std::size_t i) const { return i < inputs_.size() && inputs_[i].kind != Value::Kind::missing; }
  Var in(std::size_t i) const;              // throws when input i is missing or not a tensor
  const Value& value(std::size_t i) const;  // also a sequence or an optional, or missing
  // The value of an input that has to be constant, as integers or as one number.
  const ConstantData* constant(std::size_t i) const { return has(i) ? graph.constant(in(i).id) : nullptr; }
  Ints ints_input(std::size_t i) const;
  double number_input(std::size_t i, double otherwise) const;

  bool has_attribute(std::string_view name) const { return find(name) != nullptr; }
  std::int64_t integer(std::string_view name, std::int64_t otherwise) const;
  double number(std::string_view name, double otherwise) const;
  std::string text(std::string_view name, std::string_view otherwise) const;
  Ints ints(std::string_view name, Ints otherwise = {}) const;
  std::vector<float> numbers(std::string_view name) const;
  std::vector<std::string> texts(std::string_view name) const;
  ConstantPtr tensor(std::string_view name) const;  // null when absent
  DType dtype(std::string_view name, DType otherwise) const;
  Subgraph subgraph(std::string_view name) const;  // throws when absent
  // Of a subgraph that takes and answers tensors: its results on these arguments, in this graph.
  std::vector<Var> inline_subgraph(std::string_view name, std::span<const Var> arguments) const;

  // The tensor of that name, which a node of this scope could have as an input.
  Var named(const std::string& name) const;

  // Where the node stands: rows with subgraphs write further graphs.
  Target& target() const { return target_; }

  // `x`, a constant or of known shape if the model tells that much: what an importer calls before it looks at either.
  Var settled(Var x) const { return target_.here(x); }

  [[noreturn]] void unsupported(const std::string& what) const;
  // For what a graph cannot leave to run time: ranks, the lengths of sequences. Given the values that it depends on,
  // the model can be imported.
  [[noreturn]] void undecided(const std::string& what) const;
  [[noreturn]] void invalid(const std::string& what) const;

 private:
  const pb::Attribute* find(std::string_view name) const;

  const pb::Node& node_;
  Target& target_;
  Scope& scope_;
  int version_;
  std::span<const Value> inputs_;
};

// One row: an operator for models that declare a version in [since, until] of its domain's operator set; the empty
// domain is ONNX's own.
struct Operator {
  std::string_view type;
  int since;
  int until;
  std::vector<Var> (*import)(const NodeContext& node);
  std::string_view domain = {};
};
inline constexpr int kOldestOpset = 1, kLatestOpset = 27;
// Functions of this domain are rows of the graph that ONNX has no operator for: named like the row, with a dot and more
// behind it where operands or attributes want another body. The row is what counts, not the body.
inline constexpr std::string_view kRowDomain = "org.mlaccel";
// A domain of ONNX's own (empty or ai.onnx...) or of this engine's: nobody else says what its nodes mean.
bool is_reserved(std::string_view domain);

std::span<const Operator> cast_operators();
std::span<const Operator> math_operators();
std::span<const Operator> ml_operators();
std::span<const Operator> reduce_operators();
std::span<const Operator> shape_operators();
std::span<const Operator> index_operators();
std::span<const Operator> nn_operators();
std::span<const Operator> legacy_operators();
std::span<const Operator> quantize_operators();
std::span<const Operator> loss_operators();
std::span<const Operator> conv_operators();
std::span<const Operator> pad_operators();
std::span<const Operator> pool_operators();
std::span<const Operator> region_operators();
std::span<const Operator> resize_operators();
std::span<const Operator> sample_operators();
std::span<const Operator> generate_operators();
std::span<const Operator> attention_operators();
std::span<const Operator> recurrent_operators();
std::span<const Operator> einsum_operators();
std::span<const Operator> matrix_operators();
std::span<const Operator> normalize_operators();
std::span<const Operator> select_operators();
std::span<const Operator> random_operators();
std::span<const Operator> signal_operators();
std::span<const Operator> text_operators();
std::span<const Operator> training_operators();
std::span<const Operator> tree_operators();

// Every table; find_operator walks them.
using OperatorTable = std::span<const Operator> (*)();
std::span<const OperatorTable> operator_tables();
// The row for `type` at `version`, null when there is none.
const Operator* find_operator(std::string_view domain, std::string_view type, int version);

}  // namespace ml::onnx
