// The tables, as the steps that lead to them from an empty file. A step is never changed once it was released: what the
// tables look like at version N is what the first N steps make.
#pragma once

#include <cstdint>
#include <span>

namespace ml::daemon {

class Database;

inline constexpr std::uint32_t kApplicationId = 0x6d6c6163;  // "mlac", in the file's header

std::span<const char* const> schema_steps();

// Brings the file to version `to` (at most the number of steps) in one transaction. Throws unsupported for a newer file
// and corrupt for one that is not ours.
void migrate(Database& database, std::uint32_t to);

}  // namespace ml::daemon
