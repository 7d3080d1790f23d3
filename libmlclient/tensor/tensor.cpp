#include "ml/tensor.h"

#include <algorithm>
#include <cstring>
#include <ostream>

#include "engine/graph/scalar.h"
#include "libmlclient/session/connection.h"
#include "libmlclient/session/session_core.h"
#include "libmlclient/session/storage.h"
#include "libmlclient/tensor/call.h"
#include "libmlclient/tensor/evaluate.h"
#include "ml/ops.h"

namespace ml {

using client::need;
using client::TensorValue;
using client::TensorValuePtr;
using client::ValueKind;

namespace {

// The elements of a tensor, where they can be read now.
class HostView {
 public:
  HostView(const Tensor& tensor, const char* what) : value_(need(tensor, what)) {
    client::materialize(value_);
    if (value_->kind == ValueKind::stored) storage_ = client::host_storage(value_);
  }
  const std::byte* bytes() const { return storage_ ? storage_->host() : value_->scalar.data(); }
  const TensorType& type() const { return value_->type; }

 private:
  TensorValuePtr value_;
  std::shared_ptr<client::Storage> storage_;
};

template <class T>
T load(DType dtype, const std::byte* at) {
  if constexpr (std::is_same_v<T, bool>) return load_double(dtype, at) != 0;
  if constexpr (std::is_floating_point_v<T>) return static_cast<T>(load_double(dtype, at));
  if (is_floating(dtype)) return truncate_to<T>(load_double(dtype, at));
  return static_cast<T>(load_int(dtype, at));
}

}  // namespace

const Shape& Tensor::shape() const { return need(*this, "shape")->type.shape; }
DType Tensor::dtype() const { return need(*this, "dtype")->type.dtype; }

const Tensor& Tensor::eval() const {
  client::evaluate({this, 1});
  return *this;
}

bool Tensor::evaluated() const {
  return need(*this, "evaluated")->kind.load(std::memory_order_acquire) != ValueKind::recorded;
}

void Tensor::read(std::span<std::byte> to) const {
  const HostView view(*this, "read");
  const std::uint64_t bytes = static_cast<std::uint64_t>(view.type().shape.elements()) * dtype_size(view.type().dtype);
  if (to.size() != bytes) {
    throw Error(Code::invalid_argument, "read: " + std::string(dtype_name(view.type().dtype)) +
                                            view.type().shape.str() + " has " + std::to_string(bytes) +
                                            " bytes, the destination " + std::to_string(to.size()));
  }
  if (bytes > 0) std::memcpy(to.data(), view.bytes(), bytes);
}

template <class T>
T Tensor::item() const {
  const TensorType& type = need(*this, "item")->type;
  if (!type.shape.known() || type.shape.elements() != 1) {
    throw Error(Code::invalid_argument, "item: a tensor of shape " + type.shape.str() + " is not one element", {},
                "use to_vector(), or reduce it first");
  }
  const HostView view(*this, "item");
  return load<T>(type.dtype, view.bytes());
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const HostView view(*this, "to_vector");
  const DType dtype = view.type().dtype;
  const auto count = static_cast<std::size_t>(view.type().shape.elements());
  std::vector<T> elements(count);
  if constexpr (!std::is_same_v<T, bool>) {
    if (dtype == dtype_of<T>()) {
      if (count > 0) std::memcpy(elements.data(), view.bytes(), count * sizeof(T));
      return elements;
    }
  }
  const std::size_t size = dtype_size(dtype);
  for (std::size_t i = 0; i < count; ++i) elements[i] = load<T>(dtype, view.bytes() + i * size);
  return elements;
}

#define X(T)                                 \
  template ML_API T Tensor::item<T>() const; \
  template ML_API std::vector<T> Tensor::to_vector<T>() const;
ML_HOST_TYPES(X)
#undef X

Tensor Tensor::reshape(const Shape& shape) const { return ml::reshape(*this, shape); }
Tensor Tensor::flatten(int first, int last) const { return ml::flatten(*this, first, last); }
Tensor Tensor::transpose(int axis0, int axis1) const { return ml::transpose(*this, axis0, axis1); }
Tensor Tensor::permute(std::initializer_list<std::int64_t> order) const { return ml::permute(*this, Axes(order)); }
Tensor Tensor::squeeze(int axis) const { return ml::squeeze(*this, axis); }
Tensor Tensor::unsqueeze(int axis) const { return ml::unsqueeze(*this, axis); }
Tensor Tensor::slice(int axis, std::int64_t start, std::int64_t end, std::int64_t step) const {
  return ml::slice(*this, axis, start, end, step);
}
Tensor Tensor::sum(std::initializer_list<std::int64_t> axes, bool keep_dims) const {
  return ml::sum(*this, Axes(axes), keep_dims);
}
Tensor Tensor::mean(std::initializer_list<std::int64_t> axes, bool keep_dims) const {
  return ml::mean(*this, Axes(axes), keep_dims);
}

Tensor Tensor::t() const {
  if (rank() != 2) {
    throw Error(Code::invalid_argument, "t: wants a matrix, got " + shape().str(), {},
                "name two axes: transpose(axis0, axis1)");
  }
  return ml::transpose(*this, 0, 1);
}

Tensor Tensor::operator[](std::int64_t index) const {
  if (rank() == 0) throw Error(Code::invalid_argument, "operator[]: a rank-0 tensor has no axis to index");
  const std::int64_t extent = size(0);
  if (extent != kUnknown && (index < -extent || index >= extent)) {
    throw Error(Code::out_of_range,
                "operator[]: index " + std::to_string(index) + " is outside of axis 0 of " + shape().str());
  }
  if (index < 0) index += extent;
  return ml::squeeze(ml::slice(*this, 0, index, index + 1), 0);
}

Tensor Tensor::detach() const {
  const TensorValuePtr& origin = need(*this, "detach");
  return std::move(client::record_call(nullptr, nullptr, {origin}, {origin->type}).front());
}

Tensor& Tensor::operator+=(const Tensor& other) { return *this = add(*this, other); }
Tensor& Tensor::operator-=(const Tensor& other) { return *this = sub(*this, other); }
Tensor& Tensor::operator*=(const Tensor& other) { return *this = mul(*this, other); }
Tensor& Tensor::operator/=(const Tensor& other) { return *this = div(*this, other); }
Tensor& Tensor::operator+=(Scalar other) { return *this = add(*this, other); }
Tensor& Tensor::operator-=(Scalar other) { return *this = sub(*this, other); }
Tensor& Tensor::operator*=(Scalar other) { return *this = mul(*this, other); }
Tensor& Tensor::operator/=(Scalar other) { return *this = div(*this, other); }

void eval(std::span<const Tensor> tensors) { client::evaluate(tensors); }
void eval(std::initializer_list<Tensor> tensors) { client::evaluate({tensors.begin(), tensors.size()}); }

// --- making tensors ----------------------------------------------------------------------------------------------

Tensor full(const Shape& shape, Scalar value, DType dtype) {
  return broadcast_to(client::make_scalar(dtype, value), shape);
}
Tensor zeros(const Shape& shape, DType dtype) { return full(shape, 0, dtype); }
Tensor ones(const Shape& shape, DType dtype) { return full(shape, 1, dtype); }
Tensor zeros_like(const Tensor& x) { return zeros(x.shape(), x.dtype()); }
Tensor ones_like(const Tensor& x) { return ones(x.shape(), x.dtype()); }

Tensor tensor(Scalar value) {
  const DType dtype = value.kind() == DTypeKind::floating  ? DType::f32
                      : value.kind() == DTypeKind::boolean ? DType::boolean
                                                           : DType::i64;
  return client::make_scalar(dtype, value);
}
Tensor tensor(Scalar value, DType dtype) { return client::make_scalar(dtype, value); }

Tensor from_bytes(std::span<const std::byte> bytes, const Shape& shape, DType dtype) {
  const auto wanted = static_cast<std::uint64_t>(shape.elements()) * dtype_size(dtype);
  if (bytes.size() != wanted) {
    throw Error(Code::invalid_argument, "from_data: " + std::string(dtype_name(dtype)) + shape.str() + " has " +
                                            std::to_string(shape.elements()) + " elements, the data " +
                                            std::to_string(bytes.size() / dtype_size(dtype)));
  }
  std::byte* host = nullptr;
  Tensor tensor = client::new_host_tensor({dtype, shape}, &host);
  if (wanted > 0) std::memcpy(host, bytes.data(), wanted);
  return tensor;
}

// --- futures -----------------------------------------------------------------------------------------------------

struct Future::State {
  std::vector<std::shared_ptr<client::Storage>> storages;
};

Future::Future() = default;
Future::~Future() = default;
Future::Future(Future&&) noexcept = default;
Future& Future::operator=(Future&&) noexcept = default;

Future eval_async(std::span<const Tensor> tensors) {
  Future future;
  future.state_ = std::make_shared<Future::State>();
  client::start_evaluation(tensors);
  for (const Tensor& tensor : tensors) {
    if (const TensorValue& value = *tensor.value(); value.kind == ValueKind::stored)
      future.state_->storages.push_back(value.storage);
  }
  return future;
}
Future Tensor::eval_async() const { return ml::eval_async({this, 1}); }

bool Future::ready() const { return wait_for(0); }

void Future::wait() const {
  if (!state_) return;
  for (const auto& storage : state_->storages) storage->wait();
}

bool Future::wait_for(double seconds) const {
  if (!state_) return true;
  client::SessionCore::check_process();
  const auto now = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  constexpr double kForever = 1e9;  // seconds: what a deadline has room for
  const auto deadline =
      static_cast<std::uint64_t>(now) + static_cast<std::uint64_t>(std::clamp(seconds, 0.0, kForever) * 1e9);
  for (const auto& storage : state_->storages) {
    const auto pending = storage->pending();
    if (!pending) continue;
    const auto connection = pending->connection.lock();
    if (!connection) continue;  // gone, and what was under way has failed
    connection->queue().poll();
    if (seconds > 0 ? !connection->queue().wait_until(*pending, deadline) : !pending->done) return false;
  }
  return true;
}

}  // namespace ml
