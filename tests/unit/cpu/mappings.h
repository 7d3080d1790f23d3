// What the system says of this process's memory.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

namespace ml::cpu {

constexpr std::size_t kMegabyte = std::size_t{1} << 20;
constexpr std::size_t kHugePage = 2 * kMegabyte;

// Pages that are mapped, or of them those that are in memory.
inline std::size_t process_bytes(bool resident = false) {
  std::size_t mapped = 0, in_memory = 0;
  std::ifstream("/proc/self/statm") >> mapped >> in_memory;
  return (resident ? in_memory : mapped) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// Bytes of huge pages in the mappings that reach into [from, from + size).
inline std::size_t huge_bytes(const std::byte* from, std::size_t size) {
  std::ifstream maps("/proc/self/smaps");
  const auto first = reinterpret_cast<std::uintptr_t>(from);
  bool inside = false;
  std::size_t total = 0;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    if (std::istringstream(line) >> std::hex >> begin >> dash >> end && dash == '-')
      inside = begin < first + size && first < end;
    std::string name;
    std::size_t kilobytes = 0;
    if (inside && std::istringstream(line) >> name >> kilobytes && name == "AnonHugePages:") total += kilobytes * 1024;
  }
  return total;
}

}  // namespace ml::cpu
