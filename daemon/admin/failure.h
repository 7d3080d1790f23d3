// An error on its way to mlctl, with its stable code.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "daemon/admin/codes.h"
#include "ml/error.h"

namespace ml::daemon {

struct Failure {
  std::string_view code;  // "MLE-0202"
  Error error;
};

// Thrown where a condition has a code of its own.
class NamedError : public Error {
 public:
  NamedError(std::string_view code, const Error& error) : Error(error), code_(code) {}
  std::string_view stable_code() const { return code_; }

 private:
  std::string_view code_;
};

Failure failure_of(const Error& error);
// Of the exception being handled.
Failure caught_failure();
// "CODE\x1fwhat\x1fwhere\x1fhint", short enough for gRPC's trailers.
std::string status_message(const Failure& failure);

// Calls `act`; an error of that kind goes on as one with that code.
template <class Act>
decltype(auto) naming(std::string_view code, Code kind, Act act) {
  try {
    return act();
  } catch (const Error& error) {
    if (error.code() != kind) throw;
    throw NamedError(code, error);
  }
}

// What came from somebody else, fit for a message: valid UTF-8 (a reply with anything else could not be read), and no
// control characters, which a terminal would obey.
std::string presentable(std::string_view text);

}  // namespace ml::daemon
