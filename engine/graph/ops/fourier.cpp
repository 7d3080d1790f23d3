// The discrete Fourier transform. Complex numbers are pairs (real, imaginary) along the last dimension, real ones have
// an extent of 1 there; the transform runs along the dimension before it.
//
// It falls apart into products with small matrices: an extent n = a b is done as Cooley and Tukey (1965) do it, b
// transforms of a, a twist, and a transforms of b. What has only large prime factors is a convolution (Bluestein 1970),
// computed by transforms of a power of two. f16 and bf16 compute in f32.
#include "engine/graph/ops/fourier.h"

#include <cmath>
#include <numbers>

#include "engine/graph/build_nn.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"
#include "engine/graph/scalar.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

constexpr std::int64_t kMatrix = 8;                    // extents up to this are one product with a matrix
constexpr std::int64_t kPrimeMatrix = 256;             // and prime ones up to this
constexpr std::int64_t kTable = 65536;                 // roots of one that are constants
constexpr std::int64_t kMost = std::int64_t{1} << 31;  // whose square still counts

// How many of n frequencies stay.
std::int64_t frequencies(const FourierAttributes& attributes, std::int64_t n) {
  return attributes.onesided && n != kUnknown ? n / 2 + 1 : n;
}

std::vector<TensorType> infer_fourier(const InferArguments& a) {
  rules::want_floating(a);
  Shape shape = a.shape(0);
  const int rank = shape.rank();
  if (rank < 2 || (shape[rank - 1] != 1 && shape[rank - 1] != 2 && shape[rank - 1] != kUnknown)) {
    rules::fail(a, "wants real or complex numbers [..., n, 1] or [..., n, 2], got " + rules::text(a.inputs[0]));
  }
  std::int64_t& n = shape[rank - 2];
  if (n > kMost) rules::fail(a, "transforms at most 2^31 numbers, not " + std::to_string(n));
  n = frequencies(a.as<FourierAttributes>(), n);
  shape[rank - 1] = 2;
  return {{a.dtype(0), shape}};
}

// Rows [count, n] of complex numbers; without `im` they are real.
struct Complex {
  Var re, im;
};

Complex operator*(Complex a, Complex b) {
  if (!a.im) return {a.re * b.re, a.re * b.im};
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class F>
Complex each(Complex x, F f) {
  return {f(x.re), x.im ? f(x.im) : Var{}};
}

std::int64_t modulo(std::int64_t k, std::int64_t n) { return k % n; }
Var modulo(Var k, std::int64_t n) { return rem(k, static_cast<double>(n)); }

// exp(2 pi i turns(k) / of) for k = 0, 1, ... in this shape; `turns` answers a whole number of parts of a turn for a
// number or for a tensor of them. Large tables are computed where the graph runs, in memory that its plan accounts for.
template <class F>
Complex roots(Graph& graph, DType dtype, const Shape& shape, std::int64_t of, F turns) {
  const double part = 2 * std::numbers::pi / static_cast<double>(of);
  if (shape.elements() > kTable) {
    const Var number = iota(graph, DType::i64, {shape.elements()}, 0);
    const Var angle = reshape(cast(modulo(turns(number), of), DType::f64) * part, shape);
    return {cast(cos(angle), dtype), cast(sin(angle), dtype)};
  }
  const std::size_t width = dtype_size(dtype), count = static_cast<std::size_t>(shape.elements());
  std::vector<std::byte> cosines(count * width), sines(count * width);
  for (std::size_t k = 0; k < count; ++k) {
    const double angle = static_cast<double>(modulo(turns(static_cast<std::int64_t>(k)), of)) * part;
    store_double(dtype, &cosines[k * width], std::cos(angle));
    store_double(dtype, &sines[k * width], std::sin(angle));
  }
  return {constant(graph, make_constant(dtype, shape, cosines)), constant(graph, make_constant(dtype, shape, sines))};
}

Complex transform(Complex x, bool inverse);  // without the division

// As one product: [re im] [C S; -S C], with the matrices of cosines and sines.
Complex by_matrix(Complex x, std::int64_t n, bool inverse) {
  const std::int64_t sign = inverse ? 1 : n - 1;
  const auto [c, s] =
      roots(*x.re.graph, x.re.dtype(), {n, n}, n, [=](auto k) { return modulo(sign * (k / n), n) * modulo(k, n); });
  const auto beside = [](Var left, Var right, std::int64_t axis) {
    return concat(std::vector<Var>{left, right}, axis);
  };
  const Var matrix = x.im ? beside(beside(c, s, 1), beside(neg(s), c, 1), 0) : beside(c, s, 1);
  const Var y = matmul(x.im ? beside(x.re, x.im, 1) : x.re, matrix);
  const std::int64_t count = y.shape()[0];
  return {slice(y, {0, 0}, {count, n}), slice(y, {0, n}, {count, 2 * n})};
}

// Element j = b j1 + j2 of a row, frequency k = k1 + a k2: along j1 first, then a twist by j2 k1, then along j2.
Complex by_factors(Complex x, std::int64_t a, std::int64_t b, bool inverse) {
  const std::int64_t count = x.re.shape()[0], n = a * b;
  const Complex columns = each(x, [=](Var v) {
    return reshape(transpose(reshape(v, {count, a, b}), {0, 2, 1}), {count * b, a});
  });
  const std::int64_t sign = inverse ? 1 : n - 1;
  const Complex twist =
      roots(*x.re.graph, x.re.dtype(), {b, a}, n, [=](auto k) { return k / a * modulo(k, a) * sign; });
  const Complex inner = each(transform(columns, inverse), [=](Var v) { return reshape(v, {count, b, a}); }) * twist;
  const Complex rows = each(inner, [=](Var v) { return reshape(transpose(v, {0, 2, 1}), {count * a, b}); });
  return each(transform(rows, inverse), [=](Var v) {
    return reshape(transpose(reshape(v, {count, a, b}), {0, 2, 1}), {count, n});
  });
}

// With j k = (j^2 + k^2 - (k - j)^2) / 2 the sum is a convolution of the twisted row with a chirp.
Complex by_convolution(Complex x, std::int64_t n, bool inverse) {
  Graph& graph = *x.re.graph;
  const DType dtype = x.re.dtype();
  std::int64_t size = 1;
  while (size < 2 * n - 1) size *= 2;
  // exp(+- pi i m^2 / n)
  const auto chirp_of = [&](bool forwards) {
    return roots(graph, dtype, {1, n}, 2 * n, [=](auto m) {
      const auto square = modulo(m * m, 2 * n);
      return forwards ? square : 2 * n - square;
    });
  };
  const Complex chirp = chirp_of(inverse), against = chirp_of(!inverse);
  const auto extended = [=](Var v) { return pad(v, {0, 0}, {0, size - n}); };
  // The chirp of -m is that of m: behind the first n stand zeros and then the others backwards.
  const auto around = [=](Var v) {
    const Var mirrored = reverse(slice(v, {0, 1}, {1, n}), {1});
    return concat(std::vector<Var>{pad(v, {0, 0}, {0, size - 2 * n + 1}), mirrored}, 1);
  };
  const Complex spectrum = transform(each(x * chirp, extended), false) * transform(each(against, around), false);
  const double scale = 1 / static_cast<double>(size);
  const Complex sums = each(transform(spectrum, true), [=](Var v) {
    return slice(v, {0, 0}, {v.shape()[0], n}) * scale;
  });
  return sums * chirp;
}

// What an extent is split by: powers of two while there are any, then the smallest prime.
std::int64_t radix_of(std::int64_t n) {
  for (const std::int64_t power : {16, 8, 4, 2}) {
    if (n % power == 0) return power;
  }
  std::int64_t prime = 3;
  while (prime * prime <= n && n % prime != 0) prime += 2;
  return prime * prime <= n ? prime : n;
}

Complex transform(Complex x, bool inverse) {
  const std::int64_t n = x.re.shape()[1];
  if (n <= kMatrix) return by_matrix(x, n, inverse);
  const std::int64_t radix = radix_of(n);
  if (radix > kPrimeMatrix) return by_convolution(x, n, inverse);
  return radix == n ? by_matrix(x, n, inverse) : by_factors(x, radix, n / radix, inverse);
}

// Which frequencies of real numbers are real whatever the numbers are: none, and half of n.
Var are_real(Graph& graph, std::int64_t n) {
  std::vector<std::byte> flags(static_cast<std::size_t>(n), std::byte{0});
  flags[0] = std::byte{1};
  if (n % 2 == 0) flags[static_cast<std::size_t>(n / 2)] = std::byte{1};
  return constant(graph, make_constant(DType::boolean, {n}, flags));
}

std::vector<Var> decompose_fourier(Args a) {
  const auto& attributes = a.as<FourierAttributes>();
  const Var x = a.inputs[0];
  const std::int64_t n = x.shape().at(-2), kept = frequencies(attributes, n);
  Shape result = x.shape();
  result[x.rank() - 2] = kept;
  result[x.rank() - 1] = 2;
  if (result.elements() == 0 || n == 0) return {full(a.graph, x.dtype(), result, 0)};
  const std::int64_t parts = x.shape().at(-1), count = x.shape().elements() / (n * parts);
  const Var pairs = reshape(cast(x, dtype_info(x.dtype()).compute), {count, n, parts});
  const auto part = [&](std::int64_t i) { return reshape(slice(pairs, {0, 0, i}, {count, n, i + 1}), {count, n}); };
  Complex y = transform({part(0), parts == 2 ? part(1) : Var{}}, attributes.inverse);
  if (parts == 1) y.im = select(are_real(a.graph, n), scalar(a.graph, y.im.dtype(), 0), y.im);
  const auto last = [&](Var v) { return reshape(slice(v, {0, 0}, {count, kept}), {count, kept, 1}); };
  Var numbers = concat(std::vector<Var>{last(y.re), last(y.im)}, 2);
  if (attributes.inverse) numbers = numbers / static_cast<double>(n);
  return {cast(reshape(numbers, result), x.dtype())};
}

// The transform is linear, and its matrix symmetric: transposed it is the conjugate one.
std::vector<Var> gradient_fourier(Args a) {
  const auto& attributes = a.as<FourierAttributes>();
  const Var x = a.inputs[0];
  const int rank = x.rank();
  const std::int64_t n = x.shape().at(-2);
  Var dy = a.cotangents[0];
  Ints zeros(static_cast<std::size_t>(rank), 0), missing = zeros;
  missing[static_cast<std::size_t>(rank) - 2] = n - dy.shape().at(-2);
  if (attributes.onesided && n > 0) dy = pad(dy, zeros, missing);
  const Var dx = dft(dy, !attributes.inverse);
  const auto scale = static_cast<double>(n);
  Ints ends(x.shape().begin(), x.shape().end());
  return {slice(attributes.inverse ? dx / scale : dx * scale, zeros, ends)};
}

// What the fast transform takes, whatever the kernel does.
double flops(const InferArguments& a, std::span<const TensorType>) {
  const Shape& shape = a.shape(0);
  return 5 * static_cast<double>(shape.elements()) * std::log2(static_cast<double>(shape.at(-2)) + 1);
}

const Op kOps[] = {
    {.name = "dft",
     .kind = OpKind::composite,
     .min_inputs = 1,
     .max_inputs = 1,
     .infer = infer_fourier,
     .gradient = gradient_by(gradient_fourier),
     .make_attributes = attributes_of<FourierAttributes>,
     .decompose = decompose_fourier,
     .flops = flops},
};

}  // namespace

std::span<const Op> fourier_ops() { return kOps; }

Var dft(Var x, bool inverse, bool onesided) {
  auto attributes = std::make_shared<FourierAttributes>();
  attributes->inverse = inverse;
  attributes->onesided = onesided;
  return emit("dft", {x}, std::move(attributes));
}

}  // namespace ml
