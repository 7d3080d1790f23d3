// What every function of the C door does: exceptions become codes, whose text waits for mlengine_error(), and structs
// are read as far as the caller knows them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string>

#include "ml/error.h"

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

// The caller's options as this version knows them; fields that an older caller lacks are zero.
template <class Options>
Options read_options(const Options* options) {
  Options known{};
  if (options == nullptr) return known;
  if (options->size < sizeof(known.size)) {
    throw Error(Code::invalid_argument, "a struct's size is " + std::to_string(options->size), {},
                "set it to sizeof of the struct");
  }
  std::memcpy(static_cast<void*>(&known), options, std::min<std::size_t>(options->size, sizeof(known)));
  return known;
}

}  // namespace ml::runtime
