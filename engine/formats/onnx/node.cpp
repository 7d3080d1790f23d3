#include "engine/formats/onnx/node.h"

#include <unordered_map>

#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/scope.h"
#include "engine/formats/onnx/tensor.h"
#include "ml/error.h"

namespace ml::onnx {

namespace {

// One line a file, so that additions merge.
// clang-format off
constexpr OperatorTable kTables[] = {
    attention_operators,
    cast_operators,
    conv_operators,
    einsum_operators,
    generate_operators,
    index_operators,
    legacy_operators,
    loss_operators,
    math_operators,
    ml_operators,
    matrix_operators,
    nn_operators,
    normalize_operators,
    pad_operators,
    pool_operators,
    quantize_operators,
    random_operators,
    recurrent_operators,
    reduce_operators,
    region_operators,
    resize_operators,
    sample_operators,
    select_operators,
    shape_operators,
    signal_operators,
    text_operators,
    training_operators,
    tree_operators,
};
// clang-format on

}  // namespace

bool is_reserved(std::string_view domain) {
  return domain.empty() || domain == "ai.onnx" || domain.starts_with("ai.onnx.") || domain == kRowDomain;
}

std::span<const OperatorTable> operator_tables() { return kTables; }

const Operator* find_operator(std::string_view domain, std::string_view type, int version) {
  using Rows = std::unordered_multimap<std::string_view, const Operator*>;
  static const Rows rows = [] {
    Rows all;
    for (const OperatorTable table : kTables) {
      for (const Operator& row : table()) all.emplace(row.type, &row);
    }
    return all;
  }();
  if (domain == kRowDomain) type = type.substr(0, type.find('.'));
  for (auto [at, end] = rows.equal_range(type); at != end; ++at) {
    const Operator& row = *at->second;
    if (row.domain == domain && row.since <= version && version <= row.until) return &row;
  }
  return nullptr;
}

std::size_t Subgraph::input_count() const { return static_cast<std::size_t>(proto_.input_size()); }
std::size_t Subgraph::output_count() const { return static_cast<std::size_t>(proto_.output_size()); }
std::vector<Value> Subgraph::import(std::span<const Value> arguments, Target& target) const {
  return scope_.import_subgraph(proto_, arguments, target);
}

NodeContext::NodeContext(const pb::Node& node, Target& target, Scope& scope, int version, std::span<const Value> inputs)
    : graph(target.graph), node_(node), target_(target), scope_(scope), version_(version), inputs_(inputs) {}

const std::string& NodeContext::op_type() const { return node_.op_type(); }
std::size_t NodeContext::output_count() const { return static_cast<std::size_t>(node_.output_size()); }
const std::string& NodeContext::output_name(std::size_t i) const {
  static const std::string kNone;
  return i < output_count() ? node_.output(static_cast<int>(i)) : kNone;
}
bool NodeContext::wants_output(std::size_t i) const {
  return i < output_count() && !node_.output(static_cast<int>(i)).empty();
}

Var NodeContext::in(std::size_t i) const {
  if (!has(i)) invalid("input " + std::to_string(i) + " is missing");
  if (inputs_[i].kind != Value::Kind::tensor)
    invalid("input " + std::to_string(i) + " is " + describe(inputs_[i]) + ", a tensor is wanted");
  return inputs_[i].tensor;
}

const Value& NodeContext::value(std::size_t i) const {
  static const Value missing;
  return i < inputs_.size() ? inputs_[i] : missing;
}

Ints NodeContext::ints_input(std::size_t i) const {
  const ConstantData* value = constant(i);
  if (value == nullptr) unsupported("input " + std::to_string(i) + " must be a constant");
  Ints result;
  for (std::int64_t k = 0; k < value->shape.elements(); ++k) result.push_back(element_as_int(*value, k));
  return result;
}

double NodeContext::number_input(std::size_t i, double otherwise) const {
  if (!has(i)) return otherwise;
  const ConstantData* value = constant(i);
  if (value == nullptr) unsupported("input " + std::to_string(i) + " must be a constant");
  if (value->shape.elements() != 1)
    invalid("input " + std::to_string(i) + " must be one number, not " + value->shape.str());
  return element_as_double(*value, 0);
}

const pb::Attribute* NodeContext::find(std::string_view name) const {
  for (const pb::Attribute& attribute : node_.attribute()) {
    if (attribute.name() == name) return scope_.resolve(attribute).attribute;
  }
  return nullptr;
}

std::int64_t NodeContext::integer(std::string_view name, std::int64_t otherwise) const {
  const pb::Attribute* attribute = find(name);
  if (attribute == nullptr) return otherwise;
  if (!attribute->has_i()) invalid("attribute '" + std::string(name) + "' must be an integer");
  return attribute->i();
}

double NodeContext::number(std::string_view name, double otherwise) const {
  const pb::Attribute* attribute = find(name);
  if (attribute == nullptr) return otherwise;
  if (!attribute->has_f()) invalid("attribute '" + std::string(name) + "' must be a float");
  return static_cast<double>(attribute->f());
}

std::string NodeContext::text(std::string_view name, std::string_view otherwise) const {
  const pb::Attribute* attribute = find(name);
  return attribute == nullptr ? std::string(otherwise) : attribute->s();
}

Ints NodeContext::ints(std::string_view name, Ints otherwise) const {
  const pb::Attribute* attribute = find(name);
  if (attribute == nullptr) return otherwise;
  return {attribute->ints().begin(), attribute->ints().end()};
}

std::vector<float> NodeContext::numbers(std::string_view name) const {
  const pb::Attribute* attribute = find(name);
  if (attribute == nullptr) return {};
  return {attribute->floats().begin(), attribute->floats().end()};
}

std::vector<std::string> NodeContext::texts(std::string_view name) const {
  const pb::Attribute* attribute = find(name);
  if (attribute == nullptr) return {};
  return {attribute->strings().begin(), attribute->strings().end()};
}

ConstantPtr NodeContext::tensor(std::string_view name) const {
  const pb::Attribute* attribute = find(name);
  if (attribute == nullptr || (!attribute->has_t() && !attribute->has_sparse_tensor())) return nullptr;
  const std::string where = "attribute '" + std::string(name) + "': ";
  Session& session = scope_.session();
  if (attribute->has_t()) return read_tensor(attribute->t(), session.files, where);
  return read_sparse(attribute->sparse_tensor(), session.files, session.sparse_room, where);
}

DType NodeContext::dtype(std::string_view name, DType otherwise) const {
  return has_attribute(name) ? dtype_of(static_cast<int>(integer(name, 0)), "attribute '" + std::string(name) + "'")
                             : otherwise;
}

Subgraph NodeContext::subgraph(std::string_view name) const {
  for (const pb::Attribute& attribute : node_.attribute()) {
    if (attribute.name() != name) continue;
    const Scope::Bound bound = scope_.resolve(attribute);
    if (bound.attribute != nullptr && bound.attribute->has_g()) return {bound.attribute->g(), *bound.scope};
  }
  invalid("its subgraph '" + std::string(name) + "' is missing");
}

std::vector<Var> NodeContext::inline_subgraph(std::string_view name, std::span<const Var> arguments) const {
  std::vector<Var> results;
  const std::vector<Value> values(arguments.begin(), arguments.end());
  for (const Value& result : subgraph(name).import(values, target_)) {
    if (result.kind != Value::Kind::tensor)
      invalid("its subgraph '" + std::string(name) + "' answers " + describe(result) + ", a tensor is wanted");
    results.push_back(result.tensor);
  }
  return results;
}

Var NodeContext::named(const std::string& name) const {
  const Value value = scope_.value(name, "an attribute");
  if (value.kind != Value::Kind::tensor) invalid("'" + name + "' is " + describe(value) + ", a tensor is wanted");
  return value.tensor;
}

void NodeContext::unsupported(const std::string& what) const {
  throw Error(Code::unsupported, what + ", which is not supported");
}
void NodeContext::undecided(const std::string& what) const {
  throw Error(Code::unsupported, what, {}, "give the value of what it depends on when the model is imported");
}
void NodeContext::invalid(const std::string& what) const { throw Error(Code::invalid_argument, what); }

}  // namespace ml::onnx
