// Any bytes as an ONNX model: refused with an ml::Error, or a graph that verifies, whose inputs can be given shapes and
// that has a plan. Most inputs are models with a change or two, because bytes at random seldom get past the parser.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "ml/error.h"
#include "tests/onnx/hostile.h"

namespace {

std::string text(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const char*>(data), size}; }

// 0 when the model is too long, which libFuzzer takes for no answer.
std::size_t put(const std::string& model, std::uint8_t* data, std::size_t most) {
  if (model.size() > most) return 0;
  std::memcpy(data, model.data(), model.size());
  return model.size();
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  std::mt19937_64 random(seed);
  if (random() % 16 == 0) return LLVMFuzzerMutate(data, size, most);
  std::string model = text(data, size);
  for (std::uint64_t changes = 1 + random() % 3; changes > 0; --changes) model = ml::onnx_test::mutated(model, random);
  return put(model, data, most);
}

extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* first, std::size_t first_size,
                                                 const std::uint8_t* second, std::size_t second_size, std::uint8_t* out,
                                                 std::size_t most, unsigned seed) {
  std::mt19937_64 random(seed);
  return put(ml::onnx_test::joined(text(first, first_size), text(second, second_size), random), out, most);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    ml::onnx_test::import_and_run(std::as_bytes(std::span(data, size)));
  } catch (const ml::Error& error) {
    if (error.code() == ml::Code::internal) std::abort();
  }
  return 0;
}
