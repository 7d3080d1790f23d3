#include "ml/error.h"

#include <utility>

namespace ml {

const char* code_name(Code code) noexcept {
  switch (code) {
    case Code::invalid_argument: return "invalid_argument";
    case Code::out_of_range: return "out_of_range";
    case Code::unsupported: return "unsupported";
    case Code::not_found: return "not_found";
    case Code::corrupt: return "corrupt";
    case Code::io: return "io";
    case Code::no_space: return "no_space";
    case Code::out_of_memory: return "out_of_memory";
    case Code::too_small: return "too_small";
    case Code::cancelled: return "cancelled";
    case Code::timeout: return "timeout";
    case Code::device_lost: return "device_lost";
    case Code::denied: return "denied";
    case Code::again: return "again";
    case Code::internal: return "internal";
  }
  return "unknown";
}

Error::Error(Code code, std::string what, std::string context, std::string hint)
    : code_(code), message_(std::move(what)), context_(std::move(context)), hint_(std::move(hint)) {
  full_ = context_.empty() ? message_ : context_ + ": " + message_;
  if (!hint_.empty()) full_ += " (" + hint_ + ")";
}

Error::~Error() = default;

Error Error::within(const std::string& outer) const {
  return Error(code_, message_, context_.empty() ? outer : outer + ": " + context_, hint_);
}

}  // namespace ml
