// Memory behind an fd that other processes can be given, sealed so that they need not trust whoever made it.
#pragma once

#include <cstdint>

#include "libmlclient/transport/unique_fd.h"

namespace ml::transport {

// A memfd of so many zero bytes that may be sealed, can't be executed and isn't inherited by exec. Throws io, or
// no_space when there are no descriptors or no memory left.
UniqueFd make_memfd(const char* name, std::uint64_t bytes);
// F_SEAL_*. Throws io.
void seal(int fd, int seals);

}  // namespace ml::transport
