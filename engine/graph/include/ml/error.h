// The one error type of mlaccel.
//
// Thrown in C++ and caught only at a process boundary, where it becomes an error completion, a negative code plus
// message (C ABI) or an exit status. `what()` says what was wrong and where, with the numbers; `hint()` says what to do
// about it.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "ml/export.h"

namespace ml {

// Stable numbers: the C ABI returns them negated and the ring carries them as completion status.
enum class Code : std::int32_t {
  invalid_argument = 1,  // a shape, dtype, attribute or value that does not fit
  out_of_range = 2,      // an index or offset outside of what it indexes
  unsupported = 3,       // well formed, but nothing here can do it
  not_found = 4,         // a file, name or handle that is not there
  corrupt = 5,           // a file or message that breaks its own format
  io = 6,                // the operating system refused to read or write
  no_space = 7,          // a disk, ring, table or limit is full
  out_of_memory = 8,
  too_small = 9,  // a buffer is too small; the message says how much is needed
  cancelled = 10,
  timeout = 11,
  device_lost = 12,  // the worker or its device is gone; device tensors are lost
  denied = 13,
  again = 14,     // full for the moment; try again once the queue is ready
  internal = 15,  // a defect of mlaccel itself
};

// The name of a code, for example "invalid_argument".
ML_API const char* code_name(Code code) noexcept;

class ML_API Error : public std::exception {
 public:
  // `context` is where it happened (a node, a file and offset); `hint` is one sentence on what to do. Both may be
  // empty.
  Error(Code code, std::string what, std::string context = {}, std::string hint = {});
  ~Error() override;

  Code code() const noexcept { return code_; }
  const char* what() const noexcept override { return full_.c_str(); }
  const std::string& message() const noexcept { return message_; }
  const std::string& context() const noexcept { return context_; }
  const std::string& hint() const noexcept { return hint_; }

  // The same error with `outer` put before its context: how callers add where they were.
  Error within(const std::string& outer) const;

 private:
  Code code_;
  std::string message_, context_, hint_, full_;
};

}  // namespace ml
