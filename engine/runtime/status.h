// Errors as a completion carries them.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "ml/error.h"

namespace ml::runtime {

struct Failure {
  std::int32_t status;  // MLRING_*
  std::string message;  // its parts, as mlaccel_ring.h says
};

Failure describe_failure(const Error& error);
// What a caught exception becomes.
Failure describe_failure(std::exception_ptr error);

}  // namespace ml::runtime
