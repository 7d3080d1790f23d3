// Making files cold.
#pragma once

#include <span>
#include <string>

namespace ml::bench {

// Drops the files from the page cache as far as nobody has them mapped; answers the share of their bytes (0 to 1) that
// is not cached now.
double evict(std::span<const std::string> files);

}  // namespace ml::bench
