// Durations for people.
#pragma once

#include <cstdint>
#include <string>

namespace ml::daemon {

std::string duration_text(std::uint64_t nanoseconds);  // "14 s", "2 min 5 s", "3 h 2 min"

}  // namespace ml::daemon
