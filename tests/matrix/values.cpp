#include "tests/matrix/values.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>

#include "engine/graph/scalar.h"

namespace ml::test {
namespace {

using Random = std::mt19937_64;

double uniform(Random& random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random);
}
std::int64_t whole(Random& random, std::int64_t low, std::int64_t end) {
  return std::uniform_int_distribution<std::int64_t>(low, end - 1)(random);
}

double largest(DType dtype) {
  switch (dtype) {
    case DType::f64: return std::numeric_limits<double>::max();
    case DType::f32: return std::numeric_limits<float>::max();
    case DType::f16: return 65504;
    case DType::bf16: return 3.3895313892515355e38;
    case DType::f8e4m3fn: return 448;
    case DType::f8e4m3fnuz: return 240;
    case DType::f8e5m2:
    case DType::f8e5m2fnuz: return 57344;
    case DType::f8e8m0: return 0x1p127;
    default: return 6;  // f4e2m1
  }
}

double special_float(DType dtype, Random& random) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double values[] = {0.0,
                           -0.0,
                           1.0,
                           -1.0,
                           0.5,
                           -0.5,
                           1.5,
                           2.5,
                           -2.5,
                           3.0,
                           -7.25,
                           kInfinity,
                           -kInfinity,
                           std::nan(""),
                           largest(dtype),
                           -largest(dtype)};
  return values[whole(random, 0, std::ssize(values))];
}
std::int64_t special_integer(DType dtype, Random& random) {
  const int bits = dtype_info(dtype).bits;
  const std::uint64_t sign = std::uint64_t{1} << (bits - 1);
  // The last two are the ends of the range, signed or not, once storing has cut them to size.
  const std::uint64_t values[] = {0, 1, 2, 3, 7, ~std::uint64_t{0}, ~std::uint64_t{1}, sign, sign - 1};
  return static_cast<std::int64_t>(values[whole(random, 0, std::ssize(values))]);
}

double float_value(DType dtype, Fill values, std::int64_t limit, Random& random) {
  switch (values) {
    case Fill::any: return uniform(random, -3, 3);
    case Fill::positive: return uniform(random, 0.125, 3);
    case Fill::small: return uniform(random, -0.25, 0.25);
    case Fill::mask:
      return whole(random, 0, 2) != 0 ? -std::numeric_limits<double>::infinity() : uniform(random, -3, 3);
    case Fill::few: return static_cast<double>(whole(random, 0, 4));
    case Fill::special: return special_float(dtype, random);
    case Fill::index: return static_cast<double>(whole(random, -limit, limit));
    case Fill::below: return static_cast<double>(whole(random, 0, limit));
    default: return static_cast<double>(whole(random, -16, 17)) / 8;
  }
}
std::int64_t integer_value(DType dtype, Fill values, std::int64_t limit, Random& random) {
  switch (values) {
    case Fill::any: return whole(random, 0, 2) ? static_cast<std::int64_t>(random()) : whole(random, -8, 9);
    case Fill::exact:
    case Fill::small:
    case Fill::mask: return whole(random, -8, 9);
    case Fill::positive: return whole(random, 1, 101);
    case Fill::few: return whole(random, 0, 4);
    case Fill::special: return special_integer(dtype, random);
    case Fill::shift: return whole(random, -2, dtype_info(dtype).bits + 2);
    case Fill::index: return whole(random, -limit, limit);
    case Fill::wild_index: return whole(random, -2 * limit, 2 * limit);
    case Fill::below: return whole(random, 0, limit);
  }
  return 0;
}

// Calls f(offset) for every element in row-major order.
template <class F>
void each_offset(const Shape& shape, const Layout& layout, F f) {
  std::vector<std::int64_t> index(static_cast<std::size_t>(shape.rank()));
  for (std::int64_t left = shape.elements(); left > 0; --left) {
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < index.size(); ++i) offset += index[i] * layout.strides[i];
    f(static_cast<std::size_t>(offset));
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      if (++index[static_cast<std::size_t>(axis)] < shape[axis]) break;
      index[static_cast<std::size_t>(axis)] = 0;
    }
  }
}

}  // namespace

std::uint64_t test_seed() {
  static const std::uint64_t seed = [] {
    const char* text = std::getenv("ML_TEST_SEED");
    return text ? std::strtoull(text, nullptr, 10) : 1;
  }();
  return seed;
}

std::mt19937_64 random_for(std::string_view name) {
  std::uint64_t hash = 14695981039346656037ULL ^ test_seed();  // FNV-1a: the same with every library
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return std::mt19937_64(hash);
}

HostTensor random_tensor(DType dtype, const Shape& shape, Fill values, std::int64_t limit, Random& random) {
  HostTensor tensor{dtype, shape, {}};
  const std::size_t size = dtype_size(dtype);
  tensor.bytes.resize(static_cast<std::size_t>(shape.elements()) * size);
  for (std::size_t at = 0; at < tensor.bytes.size(); at += size) {
    if (dtype == DType::boolean)
      store_int(dtype, &tensor.bytes[at], whole(random, 0, 2));
    else if (is_floating(dtype))
      store_double(dtype, &tensor.bytes[at], float_value(dtype, values, limit, random));
    else
      store_int(dtype, &tensor.bytes[at], integer_value(dtype, values, limit, random));
  }
  return tensor;
}

std::vector<std::byte> to_layout(const HostTensor& tensor, const Layout& layout) {
  const std::size_t size = dtype_size(tensor.dtype);
  std::vector<std::byte> bytes(tensor.bytes.size());
  const std::byte* from = tensor.bytes.data();
  each_offset(tensor.shape, layout, [&](std::size_t offset) {
    std::memcpy(&bytes[offset * size], from, size);
    from += size;
  });
  return bytes;
}

HostTensor from_layout(const TensorType& type, std::span<const std::byte> bytes, const Layout& layout) {
  const std::size_t size = dtype_size(type.dtype);
  HostTensor tensor{type.dtype, type.shape, std::vector<std::byte>(bytes.size())};
  std::byte* to = tensor.bytes.data();
  each_offset(type.shape, layout, [&](std::size_t offset) {
    std::memcpy(to, &bytes[offset * size], size);
    to += size;
  });
  return tensor;
}

}  // namespace ml::test
