// The C interface: exceptions end here and become codes and messages.
#include "mlclient.h"

#include <cstring>
#include <new>

#include "ml/model.h"
#include "ml/session.h"
#include "ml/tensor.h"

struct ml_tensor {
  ml::Tensor tensor;
};
struct ml_model {
  ml::Model model;
};

namespace {

thread_local std::string last_error;

template <class F>
auto guarded(F body) -> decltype(body()) {
  using Result = decltype(body());
  const auto failed = [](ml::Code code, const char* what) {
    last_error = what;
    return static_cast<Result>(-static_cast<std::int32_t>(code));
  };
  try {
    return body();
  } catch (const ml::Error& error) {
    return failed(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return failed(ml::Code::out_of_memory, "out of memory");
  } catch (const std::exception& error) {
    return failed(ml::Code::internal, error.what());
  }
}

template <class T>
T& need(T* pointer, const char* what) {
  if (pointer == nullptr) throw ml::Error(ml::Code::invalid_argument, std::string(what) + " is null");
  return *pointer;
}

ml::Shape shape_of(const std::int64_t* shape, std::int32_t rank) {
  if (rank < 0 || rank > ML_MAX_RANK)
    throw ml::Error(ml::Code::invalid_argument, "the rank is " + std::to_string(rank) + ", not 0 to 8");
  if (rank > 0) need(shape, "shape");
  return ml::Shape(std::span(shape, static_cast<std::size_t>(rank)));
}

std::int64_t bytes_of(const ml::Tensor& tensor) {
  return tensor.elements() * static_cast<std::int64_t>(ml::dtype_size(tensor.dtype()));
}

const ml::ModelPort* port(const std::vector<ml::ModelPort>& ports, std::int32_t index) {
  return index >= 0 && static_cast<std::size_t>(index) < ports.size() ? &ports[static_cast<std::size_t>(index)]
                                                                      : nullptr;
}

}  // namespace

extern "C" {

const char* ml_last_error(void) { return last_error.c_str(); }
const char* ml_version(void) { return ML_VERSION; }

int32_t ml_connect(const char* transport, const char* device, int32_t threads) {
  return guarded([&] {
    ml::SessionOptions options;
    if (transport != nullptr) options.transport = transport;
    if (device != nullptr) options.device = device;
    options.threads = threads;
    ml::connect(options);
    return 0;
  });
}

int32_t ml_tensor_from_data(int32_t dtype, const int64_t* shape, int32_t rank, const void* data, size_t bytes,
                            ml_tensor** tensor) {
  return guarded([&] {
    need(tensor, "tensor");
    if (bytes > 0 && data == nullptr) need<const char>(nullptr, "data");
    if (dtype < 0 || !ml::is_dtype(static_cast<std::uint32_t>(dtype)))
      throw ml::Error(ml::Code::invalid_argument, "there is no dtype " + std::to_string(dtype));
    const std::span elements(static_cast<const std::byte*>(data), bytes);
    *tensor = new ml_tensor{ml::from_bytes(elements, shape_of(shape, rank), static_cast<ml::DType>(dtype))};
    return 0;
  });
}

void ml_tensor_free(ml_tensor* tensor) { delete tensor; }

int32_t ml_tensor_dtype(const ml_tensor* tensor) {
  return guarded([&] { return static_cast<std::int32_t>(need(tensor, "tensor").tensor.dtype()); });
}
int32_t ml_tensor_rank(const ml_tensor* tensor) {
  return guarded([&] { return static_cast<std::int32_t>(need(tensor, "tensor").tensor.rank()); });
}
int32_t ml_tensor_shape(const ml_tensor* tensor, int64_t* shape) {
  return guarded([&] {
    const std::span<const std::int64_t> dims = need(tensor, "tensor").tensor.shape().dims();
    if (!dims.empty()) std::memcpy(&need(shape, "shape"), dims.data(), dims.size_bytes());
    return 0;
  });
}
int64_t ml_tensor_bytes(const ml_tensor* tensor) {
  return guarded([&] { return bytes_of(need(tensor, "tensor").tensor); });
}
int32_t ml_tensor_read(const ml_tensor* tensor, void* data, size_t bytes) {
  return guarded([&] {
    if (bytes > 0 && data == nullptr) need<const char>(nullptr, "data");
    need(tensor, "tensor").tensor.read({static_cast<std::byte*>(data), bytes});
    return 0;
  });
}

int32_t ml_model_load(const char* path, ml_model** model) {
  return guarded([&] {
    const std::string name = &need(path, "path");
    need(model, "model");
    *model = new ml_model{name.ends_with(".onnx") ? ml::load_onnx(name) : ml::Model::load(name)};
    return 0;
  });
}

int32_t ml_model_open(const char* reference, ml_model** model) {
  return guarded([&] {
    const std::string name = &need(reference, "reference");
    need(model, "model");
    *model = new ml_model{ml::Model::open(name)};
    return 0;
  });
}

int32_t ml_model_publish(const ml_model* model, const char* name, int32_t shared, uint64_t* version) {
  return guarded([&] {
    const std::uint64_t made = need(model, "model").model.publish(&need(name, "name"), shared != 0);
    if (version != nullptr) *version = made;
    return 0;
  });
}

void ml_model_free(ml_model* model) { delete model; }

int32_t ml_model_input_count(const ml_model* model) {
  return guarded([&] { return static_cast<std::int32_t>(need(model, "model").model.inputs().size()); });
}
int32_t ml_model_output_count(const ml_model* model) {
  return guarded([&] { return static_cast<std::int32_t>(need(model, "model").model.outputs().size()); });
}
const char* ml_model_input_name(const ml_model* model, int32_t index) {
  const ml::ModelPort* const input = model != nullptr ? port(model->model.inputs(), index) : nullptr;
  return input != nullptr ? input->name.c_str() : nullptr;
}
const char* ml_model_output_name(const ml_model* model, int32_t index) {
  const ml::ModelPort* const output = model != nullptr ? port(model->model.outputs(), index) : nullptr;
  return output != nullptr ? output->name.c_str() : nullptr;
}

int32_t ml_model_input_type(const ml_model* model, int32_t index, int32_t* dtype, int32_t* rank, int64_t* shape) {
  return guarded([&] {
    const ml::ModelPort* const input = port(need(model, "model").model.inputs(), index);
    if (input == nullptr) throw ml::Error(ml::Code::out_of_range, "the model has no input " + std::to_string(index));
    need(dtype, "dtype") = static_cast<std::int32_t>(input->dtype);
    need(rank, "rank") = input->shape.rank();
    const std::span<const std::int64_t> dims = input->shape.dims();
    if (!dims.empty()) std::memcpy(&need(shape, "shape"), dims.data(), dims.size_bytes());
    return 0;
  });
}

int32_t ml_model_run(ml_model* model, ml_tensor* const* inputs, int32_t input_count, ml_tensor** outputs,
                     int32_t output_count) {
  return guarded([&] {
    const ml::Model& loaded = need(model, "model").model;
    if (input_count > 0) need(inputs, "inputs");
    if (output_count > 0) need(outputs, "outputs");
    if (output_count < 0 || static_cast<std::size_t>(output_count) != loaded.outputs().size()) {
      throw ml::Error(ml::Code::invalid_argument, "room for " + std::to_string(output_count) +
                                                      " outputs, the model has " +
                                                      std::to_string(loaded.outputs().size()));
    }
    std::vector<ml::Tensor> tensors;
    for (std::int32_t i = 0; i < input_count; ++i) tensors.push_back(need(inputs[i], "an input").tensor);
    const std::vector<ml::Tensor> results = loaded.run(tensors);
    std::vector<std::unique_ptr<ml_tensor>> made;
    for (const ml::Tensor& result : results) made.push_back(std::make_unique<ml_tensor>(ml_tensor{result}));
    for (std::size_t i = 0; i < made.size(); ++i) outputs[i] = made[i].release();
    return 0;
  });
}

}  // extern "C"
