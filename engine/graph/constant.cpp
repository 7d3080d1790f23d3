#include "engine/graph/constant.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <utility>

#include "engine/graph/hashing.h"
#include "engine/graph/scalar.h"
#include "ml/error.h"

namespace ml {
namespace {

template <class T>
std::vector<std::byte> multiplied(const ScaledConstant& scaled) {
  const std::span<const std::byte> from = scaled.of.bytes();
  std::vector<std::byte> bytes(from.begin(), from.end());
  scaled.of.set_aside();
  auto* const values = reinterpret_cast<T*>(bytes.data());
  const std::size_t count = bytes.size() / sizeof(T), channels = scaled.factors.size();
  const auto run = static_cast<std::size_t>(scaled.run);
  for (std::size_t at = 0; at < count;) {
    const double factor = scaled.factors[at / run % channels];
    for (const std::size_t end = std::min(at + run, count); at < end; ++at)
      values[at] = static_cast<T>(static_cast<double>(values[at]) * factor);
  }
  return bytes;
}

// Contents up to this size compare by their bytes, larger ones by who registered them.
constexpr std::uint64_t kCompareBytes = 4096;

std::string serial_identity() {
  static std::atomic<std::uint64_t> serial{0};
  return "process:" + std::to_string(++serial);
}

}  // namespace

std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept {
  std::uint64_t state = hash_combine(0, bytes.size());
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, 8);
    state = hash_combine(state, word);
  }
  std::uint64_t tail = 0;
  if (i < bytes.size()) std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
  return hash_combine(state, tail);
}

struct Blob::Made {
  ScaledConstant from;
  std::once_flag once;
  std::vector<std::byte> bytes;
  std::atomic<bool> done{false};
};

Blob::Blob(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, std::string identity, Drop drop)
    : bytes_(bytes), owner_(std::move(owner)), identity_(std::move(identity)), drop_(drop) {}

std::shared_ptr<const Blob> Blob::copy_of(std::span<const std::byte> bytes) {
  return owning({bytes.begin(), bytes.end()});
}

std::shared_ptr<const Blob> Blob::owning(std::vector<std::byte> bytes) {
  auto owner = std::make_shared<std::vector<std::byte>>(std::move(bytes));
  const std::span<const std::byte> view(*owner);
  return std::make_shared<const Blob>(view, std::move(owner), serial_identity());
}

Blob::Blob(std::unique_ptr<Made> made) : identity_(serial_identity()), drop_(nullptr), made_(std::move(made)) {}

Blob::~Blob() = default;

std::shared_ptr<const Blob> Blob::of_scaled(ScaledConstant scaled) {
  auto made = std::make_unique<Made>();
  made->from = std::move(scaled);
  return std::shared_ptr<const Blob>(new Blob(std::move(made)));
}

std::span<const std::byte> Blob::make() const {
  std::call_once(made_->once, [this] {
    made_->bytes =
        made_->from.of.dtype == DType::f32 ? multiplied<float>(made_->from) : multiplied<double>(made_->from);
    made_->done = true;
  });
  return made_->bytes;
}

std::uint64_t Blob::size() const noexcept { return made_ ? made_->from.of.length() : bytes_.size(); }
const ScaledConstant* Blob::scaled() const noexcept { return made_ ? &made_->from : nullptr; }
bool Blob::is_made() const noexcept { return !made_ || made_->done; }

std::uint64_t ConstantData::length() const { return static_cast<std::uint64_t>(shape.elements()) * dtype_size(dtype); }

std::span<const std::byte> ConstantData::bytes() const { return blob->bytes().subspan(offset, length()); }

void ConstantData::set_aside() const {
  if (blob->scaled() != nullptr)
    blob->scaled()->of.set_aside();
  else
    blob->set_aside(bytes());
}

ConstantPtr make_constant(DType dtype, const Shape& shape, std::span<const std::byte> bytes) {
  const std::uint64_t wanted = static_cast<std::uint64_t>(shape.elements()) * dtype_size(dtype);
  if (bytes.size() != wanted) {
    throw Error(Code::invalid_argument, "a constant of " + std::string(dtype_name(dtype)) + shape.str() + " has " +
                                            std::to_string(wanted) + " bytes, not " + std::to_string(bytes.size()));
  }
  return std::make_shared<const ConstantData>(ConstantData{dtype, shape, Blob::copy_of(bytes), 0});
}

ConstantPtr make_splat(DType dtype, const Shape& shape, double value) {
  const std::size_t size = dtype_size(dtype);
  std::vector<std::byte> bytes(static_cast<std::size_t>(shape.elements()) * size);
  for (std::size_t at = 0; at < bytes.size(); at += size) store_double(dtype, bytes.data() + at, value);
  return make_constant(dtype, shape, bytes);
}

double element_as_double(const ConstantData& constant, std::int64_t index) {
  return load_double(constant.dtype,
                     constant.bytes().data() + static_cast<std::size_t>(index) * dtype_size(constant.dtype));
}

std::int64_t element_as_int(const ConstantData& constant, std::int64_t index) {
  return load_int(constant.dtype,
                  constant.bytes().data() + static_cast<std::size_t>(index) * dtype_size(constant.dtype));
}

bool splat_value(const ConstantData& constant, double& value) {
  const std::span<const std::byte> bytes = constant.bytes();
  const std::size_t size = dtype_size(constant.dtype);
  if (bytes.empty()) return false;
  // Equal to itself shifted by one element: every element has the bits of the first.
  if (std::memcmp(bytes.data(), bytes.data() + size, bytes.size() - size) != 0) return false;
  value = load_double(constant.dtype, bytes.data());
  const bool wide = constant.dtype == DType::i64 || constant.dtype == DType::u64;
  return !wide || std::abs(value) < 0x1p53;
}

bool equal(const ConstantData& a, const ConstantData& b) {
  if (&a == &b) return true;
  if (a.dtype != b.dtype || a.shape != b.shape) return false;
  if (a.blob->identity() == b.blob->identity() && a.offset == b.offset) return true;
  return a.length() <= kCompareBytes && std::ranges::equal(a.bytes(), b.bytes());
}

std::uint64_t hash(const ConstantData& constant) {
  std::uint64_t state =
      hash_combine(static_cast<std::uint64_t>(constant.dtype), static_cast<std::uint64_t>(constant.shape.rank()));
  for (const std::int64_t extent : constant.shape.dims())
    state = hash_combine(state, static_cast<std::uint64_t>(extent));
  if (constant.length() <= kCompareBytes) return hash_combine(state, hash_bytes(constant.bytes()));
  return state;
}

}  // namespace ml
