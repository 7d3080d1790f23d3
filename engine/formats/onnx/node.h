// What the importer of one operator sees: the ONNX node, its inputs as Vars, its attributes with their defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/build.h"

namespace ml::onnx {

namespace pb {
class Attribute;
class Node;
}  // namespace pb

class Settler;

class NodeContext {
 public:
  NodeContext(Graph& into, const pb::Node& node, int version, std::span<const Var> inputs,
              std::shared_ptr<const Blob> file, Settler& settler)
      : graph(into), node_(node), version_(version), inputs_(inputs), file_(std::move(file)), settler_(settler) {}

  Graph& graph;
  const std::string& op_type() const;
  int version() const { return version_; }  // of the operator set the model declares
  std::size_t output_count() const;
  // True when output i has a name, that is, somebody may read it.
  bool wants_output(std::size_t i) const;

  std::size_t input_count() const { return inputs_.size(); }
  bool has(std::size_t i) const { return i < inputs_.size() && inputs_[i]; }
  Var in(std::size_t i) const;  // throws when input i is missing
  // The value of an input that has to be constant, as integers or as one number.
  const ConstantData* constant(std::size_t i) const { return has(i) ? graph.constant(inputs_[i].id) : nullptr; }
  Ints ints_input(std::size_t i) const;
  double number_input(std::size_t i, double otherwise) const;

  bool has_attribute(std::string_view name) const { return find(name) != nullptr; }
  std::int64_t integer(std::string_view name, std::int64_t otherwise) const;
  double number(std::string_view name, double otherwise) const;
  std::string text(std::string_view name, std::string_view otherwise) const;
  Ints ints(std::string_view name, Ints otherwise = {}) const;
  std::vector<float> numbers(std::string_view name) const;
  ConstantPtr tensor(std::string_view name) const;  // null when absent
  DType dtype(std::string_view name, DType otherwise) const;

  // `x`, a constant or of known shape if the model tells that much: what an importer calls before it looks at either.
  Var settled(Var x) const;

  [[noreturn]] void unsupported(const std::string& what) const;
  [[noreturn]] void invalid(const std::string& what) const;

 private:
  const pb::Attribute* find(std::string_view name) const;

  const pb::Node& node_;
  int version_;
  std::span<const Var> inputs_;
  std::shared_ptr<const Blob> file_;
  Settler& settler_;
};

// One row: an operator of the default domain for models whose opset is in [since, until].
struct Operator {
  std::string_view type;
  int since;
  int until;
  std::vector<Var> (*import)(const NodeContext& node);
};
inline constexpr int kLatestOpset = 27;

std::span<const Operator> math_operators();
std::span<const Operator> reduce_operators();
std::span<const Operator> shape_operators();
std::span<const Operator> index_operators();
std::span<const Operator> nn_operators();
std::span<const Operator> loss_operators();
std::span<const Operator> conv_operators();
std::span<const Operator> pad_operators();
std::span<const Operator> pool_operators();
std::span<const Operator> resize_operators();
std::span<const Operator> sample_operators();
std::span<const Operator> generate_operators();

// Every table; find_operator walks them.
using OperatorTable = std::span<const Operator> (*)();
std::span<const OperatorTable> operator_tables();
// The row for `type` at `version`, null when there is none.
const Operator* find_operator(std::string_view type, int version);

}  // namespace ml::onnx
