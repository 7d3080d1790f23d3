// Checks of memory that a client sends. What passes is a memfd and nothing else: no look at it can wait for anybody,
// and it can't become smaller while it is used.
#pragma once

#include <cstdint>

namespace ml::daemon {

// For an arena: sealed with SHRINK and GROW, writable for ever, of ordinary pages, opened for reading and writing,
// exactly `bytes` long. Throws invalid_argument, denied (seals) or unsupported (other pages).
void check_arena(int fd, std::uint64_t bytes);
// For a model's file: sealed against everything, of ordinary pages, exactly `bytes` long.
void check_model_file(int fd, std::uint64_t bytes);

}  // namespace ml::daemon
