#include "ml/random.h"

#include <array>

#include "engine/graph/build_nn.h"
#include "libmlclient/tensor/call.h"
#include "libmlclient/tensor/random_source.h"
#include "ml/ops.h"

namespace ml {
namespace client {
namespace {

thread_local TracedRandom* traced = nullptr;

}  // namespace

TracedRandom::TracedRandom(Tensor start) : state(std::move(start)), outer_(traced) { traced = this; }
TracedRandom::~TracedRandom() { traced = outer_; }

}  // namespace client

namespace {

// Calls draw(state) -> {values, next state} of the engine's words.
template <class F>
Tensor draw_from(Generator& generator, std::int64_t elements, std::vector<Tensor> inputs, F draw) {
  client::TracedRandom* const traced = client::traced;
  if (traced != nullptr) {
    inputs.push_back(traced->state);
  } else {
    const GeneratorState state = generator.state();
    const std::array<std::uint64_t, 2> words{state.seed, state.counter};
    inputs.push_back(from_data(std::span<const std::uint64_t>(words), {2}));
    // At most four words for two numbers, in blocks of four.
    generator.set_state({state.seed, state.counter + static_cast<std::uint64_t>(elements) / 2 + 1});
  }
  std::vector<Tensor> results = client::record_built(
      inputs,
      [](void* context, Graph&, std::span<const Var> v) -> std::vector<Var> {
        const auto [values, next] = (*static_cast<F*>(context))(v);
        return {values, next};
      },
      &draw);
  if (traced != nullptr) {
    traced->state = results[1];
    traced->used = true;
  }
  return std::move(results[0]);
}

}  // namespace

Tensor rand(const Shape& shape, Generator& generator, DType dtype) {
  return draw_from(generator, shape.elements(), {},
                   [&](std::span<const Var> v) { return random_uniform(v[0], dtype, shape); });
}

Tensor uniform(const Shape& shape, double low, double high, Generator& generator, DType dtype) {
  return rand(shape, generator, dtype) * (high - low) + low;
}

Tensor randn(const Shape& shape, Generator& generator, DType dtype) {
  return draw_from(generator, shape.elements(), {},
                   [&](std::span<const Var> v) { return random_normal(v[0], dtype, shape); });
}

Tensor dropout(const Tensor& x, double p, Generator& generator) {
  return draw_from(generator, x.elements(), {x}, [&](std::span<const Var> v) {
    const Dropout result = dropout(v[0], v[1], p);
    return std::pair(result.y, result.state);
  });
}

Generator& default_generator() {
  thread_local Generator generator;
  return generator;
}

void manual_seed(std::uint64_t seed) { default_generator() = Generator(seed); }

}  // namespace ml
