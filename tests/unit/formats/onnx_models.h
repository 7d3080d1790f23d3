// ONNX models written in a test, and what comes of them.
#pragma once

#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "engine/formats/onnx/import.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/resources.h"
#include "ml/error.h"

namespace ml::onnx_models {

using onnx::pb::Model;

inline std::shared_ptr<const Blob> blob_of(const std::string& bytes) {
  return Blob::copy_of(std::as_bytes(std::span(bytes)));
}
inline Graph import_bytes(const std::string& bytes, const onnx::ImportOptions& options = {}) {
  return onnx::import_model(blob_of(bytes), runtime::reference_evaluate(), options);
}
inline Graph import_proto(const Model& model, const onnx::ImportOptions& options = {}) {
  return import_bytes(model.SerializeAsString(), options);
}

// "code: message" of the error that importing throws, or "imported".
inline std::string message_of(const Model& model, const onnx::ImportOptions& options = {}) {
  try {
    import_proto(model, options);
  } catch (const Error& error) {
    return std::string(code_name(error.code())) + ": " + error.what();
  }
  return "imported";
}

// f32 unless another type is said; a dimension of -1 is the symbol N.
inline void add_value(google::protobuf::RepeatedPtrField<onnx::pb::ValueInfo>* list, const std::string& name,
                      std::initializer_list<int> dims, int type = 1) {
  auto* info = list->Add();
  info->set_name(name);
  auto* tensor = info->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(type);
  tensor->mutable_shape();
  for (const int dim : dims) {
    auto* d = tensor->mutable_shape()->add_dim();
    if (dim >= 0)
      d->set_dim_value(dim);
    else
      d->set_dim_param("N");
  }
}

template <class Owner>  // a graph or a function
onnx::pb::Node& add_node(Owner& owner, const std::string& type, std::initializer_list<const char*> inputs,
                         std::initializer_list<const char*> outputs, const std::string& name = {}) {
  auto* node = owner.add_node();
  node->set_op_type(type);
  node->set_name(name);
  for (const char* input : inputs) node->add_input(input);
  for (const char* output : outputs) node->add_output(output);
  return *node;
}
inline onnx::pb::Node& add_node(Model& model, const std::string& type, std::initializer_list<const char*> inputs,
                                std::initializer_list<const char*> outputs, const std::string& name = {}) {
  return add_node(*model.mutable_graph(), type, inputs, outputs, name);
}

inline onnx::pb::Attribute& add_attribute(onnx::pb::Node& node, const std::string& name) {
  auto* attribute = node.add_attribute();
  attribute->set_name(name);
  return *attribute;
}
inline void set(onnx::pb::Node& node, const std::string& name, std::int64_t value) {
  add_attribute(node, name).set_i(value);
}
inline void set(onnx::pb::Node& node, const std::string& name, const std::vector<std::int64_t>& values) {
  auto& attribute = add_attribute(node, name);
  for (const std::int64_t value : values) attribute.add_ints(value);
}

// In the domain "local", which the function may call too.
inline onnx::pb::Function& add_function(Model& model, const std::string& name,
                                        std::initializer_list<const char*> inputs,
                                        std::initializer_list<const char*> outputs) {
  auto& function = *model.add_functions();
  function.set_name(name);
  function.set_domain("local");
  function.add_opset_import()->set_version(17);
  auto* own = function.add_opset_import();
  own->set_domain("local");
  own->set_version(1);
  for (const char* input : inputs) function.add_input(input);
  for (const char* output : outputs) function.add_output(output);
  return function;
}

inline void add_numbers(onnx::pb::Graph& graph, const std::string& name, const std::vector<std::int64_t>& values,
                        bool is_scalar = false) {
  auto* tensor = graph.add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(7);
  if (!is_scalar) tensor->add_dims(static_cast<std::int64_t>(values.size()));
  for (const std::int64_t value : values) tensor->add_int64_data(value);
}
inline void add_floats(onnx::pb::Graph& graph, const std::string& name, const std::vector<float>& values) {
  auto* tensor = graph.add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(1);
  tensor->add_dims(static_cast<std::int64_t>(values.size()));
  for (const float value : values) tensor->add_float_data(value);
}

inline Model empty_model(int version = 17) {
  Model model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(version);
  model.mutable_graph()->set_name("g");
  return model;
}
// y = relu(x) for x [N, 3].
inline Model small_model() {
  Model model = empty_model();
  add_value(model.mutable_graph()->mutable_input(), "x", {-1, 3});
  add_value(model.mutable_graph()->mutable_output(), "y", {-1, 3});
  add_node(model, "Relu", {"x"}, {"y"});
  return model;
}

template <class T>
HostTensor tensor(DType dtype, const Shape& shape, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {dtype, shape, {bytes.begin(), bytes.end()}};
}
inline HostTensor floats(const Shape& shape, const std::vector<float>& values) {
  return tensor(DType::f32, shape, values);
}
inline HostTensor truth(bool value) { return tensor(DType::boolean, {}, std::vector<std::uint8_t>{value}); }

inline std::vector<HostTensor> run(const Graph& graph, const std::vector<HostTensor>& inputs) {
  const auto device = create_reference_device();
  return evaluate(graph, *device, inputs);
}
inline std::vector<float> floats_of(const HostTensor& tensor) {
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

}  // namespace ml::onnx_models
