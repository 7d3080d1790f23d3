// Counts what operator new is asked for, in libmlclient.so too.
#pragma once

#include <cstdint>

namespace ml {

std::uint64_t allocations_of_this_thread();

}  // namespace ml
