// An error as it comes from the engine: a negated ml::Code and up to three parts of text.
#pragma once

#include <cstdint>
#include <string_view>

#include "ml/error.h"

namespace ml::client {

// `status` is negative; the parts are what was wrong, where, and what to do.
Error error_from_message(std::int32_t status, std::string_view message, char separator);

}  // namespace ml::client
