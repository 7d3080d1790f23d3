#include "engine/formats/onnx/signature.h"

#include <vector>

#include "engine/formats/onnx/extents.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/formats/onnx/tensor.h"
#include "engine/graph/limits.h"
#include "ml/error.h"

namespace ml::onnx {
namespace {

std::string text(const InputForm& form) {
  std::string shapes;
  for (const Shape& shape : form.shapes) shapes += (shapes.empty() ? "" : ", ") + shape.str();
  return form.present ? std::to_string(form.shapes.size()) + " shapes (" + shapes + ")" : "nothing";
}

// Of a type that has one.
Shape declared_shape(const pb::Type::TensorType& type) {
  Shape shape;
  for (const auto& dim : type.shape().dim())
    shape.append(dim.has_dim_value() && dim.dim_value() >= 0 ? dim.dim_value() : kUnknown);
  return shape;
}

// Whether both can be said of one tensor.
bool agree(const Shape& a, const Shape& b) {
  bool fits = a.rank() == b.rank();
  for (int i = 0; fits && i < a.rank(); ++i) fits = a[i] == kUnknown || b[i] == kUnknown || a[i] == b[i];
  return fits;
}

class Inputs {
 public:
  Inputs(Graph& graph, const pb::ValueInfo& input, const ImportOptions& options)
      : graph_(graph), name_(input.name()), where_("input '" + name_ + "'") {
    const auto found = options.forms.find(name_);
    if (found != options.forms.end()) form_ = &found->second;
  }

  Value add(const pb::Type& type) {
    if (type.has_tensor_type()) {
      if (form_ != nullptr && (!form_->present || form_->shapes.size() > 1)) misfit("a tensor");
      return tensor(type.tensor_type(), name_, form_ == nullptr || form_->shapes.empty() ? nullptr : &form_->shapes[0]);
    }
    if (type.has_sequence_type()) return sequence(type.sequence_type().elem_type());
    if (type.has_optional_type()) return optional(type.optional_type().elem_type());
    throw Error(Code::unsupported, "maps and sparse tensors are not supported", where_);
  }

 private:
  [[noreturn]] void open(const char* what) const {
    throw Error(Code::unsupported, what, where_, "say its form when the model is imported");
  }
  [[noreturn]] void misfit(const char* wanted) const {
    throw Error(Code::invalid_argument, std::string("it is ") + wanted + ", its form says " + text(*form_), where_);
  }

  Value optional(const pb::Type& type) {
    if (form_ == nullptr) open("the model does not say whether the optional holds something");
    const Var present = scalar(graph_, DType::boolean, form_->present ? 1 : 0);
    if (!form_->present) return Value::optional(present, {});
    if (type.has_optional_type()) throw Error(Code::unsupported, "an optional of an optional is not supported", where_);
    return Value::optional(present, {add(type)});
  }

  Value sequence(const pb::Type& type) {
    if (!type.has_tensor_type())
      throw Error(Code::unsupported, "sequences hold tensors, nothing else is supported", where_);
    if (form_ == nullptr) open("the model does not say how many tensors the sequence holds");
    if (!form_->present) misfit("a sequence");
    std::vector<Value> elements;
    for (const Shape& shape : form_->shapes)
      elements.push_back(tensor(type.tensor_type(), name_ + "." + std::to_string(elements.size()), &shape));
    return Value::sequence(std::move(elements));
  }

  // `form` replaces what the file leaves open.
  Var tensor(const pb::Type::TensorType& type, const std::string& name, const Shape* form) {
    Shape shape;
    std::vector<std::string> symbols;
    if (type.has_shape()) {
      shape = declared_shape(type);
      for (const auto& dim : type.shape().dim()) {
        const bool known = shape[static_cast<int>(symbols.size())] != kUnknown;
        std::string symbol = known ? "" : dim.dim_param();
        // Elements of a sequence may differ where their type has one name.
        if (!known && (symbol.empty() || name != name_)) symbol = name + "." + std::to_string(symbols.size());
        symbols.push_back(symbol);
      }
    } else {
      if (form == nullptr) open("the model does not say which rank it has");
      for (int i = 0; i < form->rank(); ++i) shape.append(kUnknown);
      for (int i = 0; i < form->rank(); ++i) symbols.push_back(name + "." + std::to_string(i));
    }
    if (form != nullptr) narrow(shape, symbols, *form);
    const TensorType result{dtype_of(type.elem_type(), where_), shape};
    check_type(result, where_);
    return {&graph_, graph_.add_input(name, result, symbols)};
  }

  void narrow(Shape& shape, std::vector<std::string>& symbols, const Shape& form) const {
    if (!agree(shape, form))
      throw Error(Code::invalid_argument, "its form says " + form.str() + ", the model " + shape.str(), where_);
    for (int i = 0; i < shape.rank(); ++i) {
      if (form[i] == kUnknown) continue;
      shape[i] = form[i];
      symbols[static_cast<std::size_t>(i)].clear();
    }
  }

  Graph& graph_;
  const std::string& name_;
  const std::string where_;
  const InputForm* form_ = nullptr;
};

}  // namespace

Value add_input(Graph& graph, const pb::ValueInfo& input, const ImportOptions& options) {
  const auto given = options.values.find(input.name());
  if (given == options.values.end()) return Inputs(graph, input, options).add(input.type());
  const ConstantData& value = *given->second;
  const std::string where = "input '" + input.name() + "'";
  if (!input.type().has_tensor_type())
    throw Error(Code::invalid_argument, "only tensors can be given as values", where);
  const pb::Type::TensorType& type = input.type().tensor_type();
  const DType dtype = dtype_of(type.elem_type(), where);
  const Shape wanted = type.has_shape() ? declared_shape(type) : value.shape;
  if (value.dtype != dtype || !agree(value.shape, wanted))
    throw Error(Code::invalid_argument,
                "its value is " + std::string(dtype_name(value.dtype)) + value.shape.str() + ", the model wants " +
                    std::string(dtype_name(dtype)) + (type.has_shape() ? wanted.str() : ""),
                where);
  return constant(graph, given->second);
}

void add_output(Graph& graph, const std::string& name, const Value& value) {
  switch (value.kind) {
    case Value::Kind::missing: throw Error(Code::corrupt, "output '" + name + "' has no value");
    case Value::Kind::tensor: graph.add_output(name, value.tensor.id); break;
    case Value::Kind::sequence:
      for (std::size_t i = 0; i < value.elements.size(); ++i)
        add_output(graph, name + "." + std::to_string(i), value.elements[i]);
      break;
    case Value::Kind::optional:
      if (known_integer(value.tensor) != 1) graph.add_output(name + ".present", value.tensor.id);
      if (!value.elements.empty()) add_output(graph, name, value.elements[0]);
      break;
  }
}

}  // namespace ml::onnx
