// Tensor: n-dimensional arrays that are computed when somebody looks.
//
// Calling an operation checks shapes and dtypes at once and records it; nothing is computed until eval(), item(),
// to_vector(), printing, or an operation that needs the value on the host. Evaluating compiles the recorded expression
// to one program (found again, without compiling, by every later expression of the same structure), runs it and drops
// the record, so memory does not grow with history.
//
//   ml::Tensor x = ml::randn({2, 3}, generator);
//   ml::Tensor y = ml::matmul(x, x.t()) + 1;   // recorded: [2, 2]
//   std::cout << y << "\n";                    // compiled, run, printed
//
// A Tensor is a cheap handle: copies share one value, and values never change. Tensors may be used from several threads
// at once; assigning to one handle from two threads is a data race, as for any C++ value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "ml/dtype.h"
#include "ml/error.h"
#include "ml/export.h"
#include "ml/shape.h"

namespace ml {

class Future;
class Tensor;
namespace client {
struct TensorValue;
using TensorValuePtr = std::shared_ptr<TensorValue>;
}  // namespace client

// A number written in the program. It takes the dtype of the tensor that it meets, unless its kind is a higher one
// (bool < integer < floating): then the result is i64 or f32. Changing its value never compiles anything again.
class ML_API Scalar {
 public:
  // Implicit, so that `x * 2` and `x + 0.5` read as they should.
  template <class T>
  requires std::is_arithmetic_v<T> Scalar(T value)
      : kind_(std::is_same_v<T, bool>       ? DTypeKind::boolean
              : std::is_floating_point_v<T> ? DTypeKind::floating
                                            : DTypeKind::signed_integer),
        number_(static_cast<double>(value)),
        integer_(std::is_floating_point_v<T> ? 0 : static_cast<std::int64_t>(value)) {}

  DTypeKind kind() const noexcept { return kind_; }
  double number() const noexcept { return number_; }
  std::int64_t integer() const noexcept { return integer_; }  // 0 for a floating scalar

 private:
  DTypeKind kind_;
  double number_;
  std::int64_t integer_;
};

class ML_API Tensor {
 public:
  // No tensor. Using it in an operation throws invalid_argument.
  Tensor() = default;
  bool defined() const noexcept { return value_ != nullptr; }
  // A tensor is no condition: `if (loss < best)` must say what it asks. Use defined(), or item<bool>().
  explicit operator bool() const = delete;

  // --- what it is (known without evaluating) ---------------------------------------------------------------------

  const Shape& shape() const;
  DType dtype() const;
  int rank() const { return shape().rank(); }
  std::int64_t size(int axis) const { return shape().at(axis); }  // negative axes count from the end
  std::int64_t elements() const { return shape().elements(); }

  // --- its value -------------------------------------------------------------------------------------------------

  // Computes it now. Does nothing when that has happened already. Returns *this.
  const Tensor& eval() const;
  // Starts computing it and comes back at once. Operations may use it before it is ready; reading it waits.
  Future eval_async() const;
  // Its value has been computed (or is being computed by eval_async) and its history is gone.
  bool evaluated() const;

  // The only element as a T (converted as cast does). Throws invalid_argument unless elements() is 1.
  template <class T>
  T item() const;
  // All elements in row-major order, converted to T.
  template <class T>
  std::vector<T> to_vector() const;
  // All bytes in row-major order, not converted. `to` must have exactly elements() * dtype_size(dtype()) bytes.
  void read(std::span<std::byte> to) const;
  // "tensor([[1, 2],\n        [3, 4]], f32[2, 2])": large tensors are summarized.
  std::string str() const;

  // --- the usual methods; ml/ops.h has the rest ------------------------------------------------------------------

  Tensor to(DType dtype) const;              // converts; floats to integers truncate and saturate
  Tensor reshape(const Shape& shape) const;  // one extent may be -1: inferred
  Tensor flatten(int first = 0, int last = -1) const;
  Tensor transpose(int axis0, int axis1) const;
  Tensor permute(std::initializer_list<std::int64_t> order) const;
  Tensor t() const;  // swaps the two axes of a matrix
  Tensor squeeze(int axis) const;
  Tensor unsqueeze(int axis) const;
  Tensor slice(int axis, std::int64_t start, std::int64_t end, std::int64_t step = 1) const;  // clamped, as in Python
  Tensor operator[](std::int64_t index) const;  // along axis 0, which goes away
  Tensor sum(std::initializer_list<std::int64_t> axes = {}, bool keep_dims = false) const;
  Tensor mean(std::initializer_list<std::int64_t> axes = {}, bool keep_dims = false) const;
  // The same value, through which no gradient flows.
  Tensor detach() const;

  Tensor& operator+=(const Tensor& other);
  Tensor& operator-=(const Tensor& other);
  Tensor& operator*=(const Tensor& other);
  Tensor& operator/=(const Tensor& other);
  Tensor& operator+=(Scalar other);
  Tensor& operator-=(Scalar other);
  Tensor& operator*=(Scalar other);
  Tensor& operator/=(Scalar other);

  // For the library itself.
  explicit Tensor(client::TensorValuePtr value) noexcept : value_(std::move(value)) {}
  const client::TensorValuePtr& value() const noexcept { return value_; }

 private:
  client::TensorValuePtr value_;
};

ML_API std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

// Computes several tensors in one program: work that they share is done once.
ML_API void eval(std::span<const Tensor> tensors);
ML_API void eval(std::initializer_list<Tensor> tensors);

// The completion of an eval_async. Dropping it does not cancel anything.
class ML_API Future {
 public:
  Future();
  ~Future();
  Future(Future&&) noexcept;
  Future& operator=(Future&&) noexcept;

  bool ready() const;  // never blocks
  void wait() const;   // throws what the computation threw
  // False when it was not ready in time.
  bool wait_for(double seconds) const;

 private:
  friend class Tensor;
  friend ML_API Future eval_async(std::span<const Tensor> tensors);
  struct State;
  std::shared_ptr<State> state_;
};
ML_API Future eval_async(std::span<const Tensor> tensors);

// --- making tensors ----------------------------------------------------------------------------------------------

ML_API Tensor zeros(const Shape& shape, DType dtype = DType::f32);
ML_API Tensor ones(const Shape& shape, DType dtype = DType::f32);
ML_API Tensor full(const Shape& shape, Scalar value, DType dtype = DType::f32);
ML_API Tensor zeros_like(const Tensor& x);
ML_API Tensor ones_like(const Tensor& x);
// start, start + step, ... below end (above it for a negative step), as a vector.
ML_API Tensor arange(std::int64_t end, DType dtype = DType::i64);
ML_API Tensor arange(double start, double end, double step, DType dtype = DType::f32);
ML_API Tensor eye(std::int64_t n, DType dtype = DType::f32);  // [n, n] identity

// Copies row-major elements. `bytes` must be exactly as large as the type says.
ML_API Tensor from_bytes(std::span<const std::byte> bytes, const Shape& shape, DType dtype);
// A rank-0 tensor.
ML_API Tensor tensor(Scalar value);
ML_API Tensor tensor(Scalar value, DType dtype);

// The dtype that holds a C++ type.
template <class T>
constexpr DType dtype_of() {
  static_assert(std::is_arithmetic_v<T>, "tensors hold numbers");
  if constexpr (std::is_same_v<T, bool>) return DType::boolean;
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  constexpr bool is_signed_type = std::is_signed_v<T>;
  if constexpr (sizeof(T) == 1) return is_signed_type ? DType::i8 : DType::u8;
  if constexpr (sizeof(T) == 2) return is_signed_type ? DType::i16 : DType::u16;
  if constexpr (sizeof(T) == 4) return is_signed_type ? DType::i32 : DType::u32;
  return is_signed_type ? DType::i64 : DType::u64;
}

// Copies `data`, row-major, of exactly as many elements as the shape has.
template <class T>
Tensor from_data(std::span<const T> data, const Shape& shape) {
  return from_bytes(std::as_bytes(data), shape, dtype_of<T>());
}
template <class T>
requires(!std::is_same_v<T, bool>) Tensor from_data(const std::vector<T>& data, const Shape& shape) {
  return from_data(std::span<const T>(data), shape);
}
// A vector: tensor({1.f, 2.f, 3.f}).
template <class T>
Tensor tensor(std::initializer_list<T> data) {
  return from_data(std::span<const T>(data.begin(), data.size()), {static_cast<std::int64_t>(data.size())});
}

// The types that item() and to_vector() convert to.
#define ML_HOST_TYPES(X) \
  X(double)              \
  X(float)               \
  X(std::int8_t)         \
  X(std::int16_t)        \
  X(std::int32_t) X(std::int64_t) X(std::uint8_t) X(std::uint16_t) X(std::uint32_t) X(std::uint64_t) X(bool)
#define X(T)                                        \
  extern template ML_API T Tensor::item<T>() const; \
  extern template ML_API std::vector<T> Tensor::to_vector<T>() const;
ML_HOST_TYPES(X)
#undef X

}  // namespace ml
