// Any bytes as an ONNX model: refused with an ml::Error, or a graph that verifies.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/formats/onnx/import.h"
#include "engine/runtime/resources.h"
#include "ml/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ml::passes::Evaluate evaluate = ml::runtime::reference_evaluate();
  try {
    ml::verify(ml::onnx::import_model(ml::Blob::copy_of(std::as_bytes(std::span(data, size))), evaluate));
  } catch (const ml::Error& error) {
    if (error.code() == ml::Code::internal) std::abort();
  }
  return 0;
}
