// What every function of the C door does: exceptions become codes, and their text waits for mlengine_error().
#pragma once

#include <cstdint>
#include <exception>

namespace ml::runtime {

// The message of the last call on this thread; "" when it went well.
const char* last_door_error();
void forget_door_error();
// Keeps the text of an exception and answers its code.
std::int32_t refuse_at_door(std::exception_ptr error);

template <class F>
std::int32_t guarded(F body) {
  try {
    forget_door_error();
    body();
    return 0;
  } catch (...) {
    return refuse_at_door(std::current_exception());
  }
}

}  // namespace ml::runtime
