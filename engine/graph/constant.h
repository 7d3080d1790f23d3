// Constant tensors: bytes that a graph refers to and does not own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/graph/attributes.h"

namespace ml {

struct ScaledConstant;

// A run of bytes that graphs refer to: a mapped file, a sealed memfd, or memory of our own. Immutable while it is
// shared.
class Blob {
 public:
  // Lets the memory of bytes go that come back by themselves when they are read again: pages of a mapped file.
  using Drop = void (*)(std::span<const std::byte> bytes);
  // Keeps `owner` alive as long as the blob; `identity` names the content (a hash of it, made once on registration, or
  // for copies made in this process a serial number). `drop`: null where bytes can't come back.
  Blob(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, std::string identity, Drop drop = nullptr);
  static std::shared_ptr<const Blob> copy_of(std::span<const std::byte> bytes);
  static std::shared_ptr<const Blob> owning(std::vector<std::byte> bytes);
  // Bytes that are made when somebody asks for them first, and kept. Who packs the constant reads scaled() instead.
  static std::shared_ptr<const Blob> of_scaled(ScaledConstant scaled);
  ~Blob();
  Blob(const Blob&) = delete;
  Blob& operator=(const Blob&) = delete;

  std::span<const std::byte> bytes() const { return made_ ? make() : bytes_; }
  std::uint64_t size() const noexcept;
  // What its bytes are made of, or null.
  const ScaledConstant* scaled() const noexcept;
  // Whether it is memory by now, or a file.
  bool is_made() const noexcept;
  // Says that these bytes are not read again soon.
  void set_aside(std::span<const std::byte> bytes) const {
    if (drop_ != nullptr) drop_(bytes);
  }
  const std::string& identity() const noexcept { return identity_; }

 private:
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  std::string identity_;
  Drop drop_;

  struct Made;
  explicit Blob(std::unique_ptr<Made> made);
  std::span<const std::byte> make() const;
  std::unique_ptr<Made> made_;  // null: bytes_ are there
};

// A dense row-major tensor inside a blob.
struct ConstantData {
  DType dtype = DType::f32;
  Shape shape;
  std::shared_ptr<const Blob> blob;
  std::uint64_t offset = 0;  // bytes into the blob; any alignment

  std::uint64_t length() const;  // bytes
  std::span<const std::byte> bytes() const;
  // Says that the constant is not read again soon; nor is what it would be made of.
  void set_aside() const;
};

// The elements of a constant of f32 or f64, each times the factor of its channel and rounded once: that of element i is
// i / run % factors.size().
struct ScaledConstant {
  ConstantData of;
  std::vector<double> factors;
  std::int64_t run;
};

// Same type and, up to 4 KiB, the same bytes; larger ones when they are the same range of the same blob.
bool equal(const ConstantData& a, const ConstantData& b);
std::uint64_t hash(const ConstantData& constant);

struct ConstantAttributes final : Attributes {
  ConstantPtr value;
  void visit(AttributeVisitor& v) override { v.field("value", value); }
};

// A constant with its own copy of `bytes`, which must be the size of the type.
ConstantPtr make_constant(DType dtype, const Shape& shape, std::span<const std::byte> bytes);
// Every element `value`, converted to `dtype` (rounded to nearest even; integers truncate).
ConstantPtr make_splat(DType dtype, const Shape& shape, double value);
// Element `index` as a double or as an integer; index must be in range.
double element_as_double(const ConstantData& constant, std::int64_t index);
std::int64_t element_as_int(const ConstantData& constant, std::int64_t index);
// When every element has the same bits and that value is exact in a double: the value. False for an empty constant.
bool splat_value(const ConstantData& constant, double& value);

}  // namespace ml
