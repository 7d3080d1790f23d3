// Counts what each thread of this executable allocates: counted_malloc.cpp stands before the C library's functions.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace ml::test {

// Allocations of the thread so far (malloc, calloc, realloc, aligned ones, and what is built on them). 0 for a thread
// that never allocated.
std::uint64_t allocations_of(pid_t thread);

}  // namespace ml::test
