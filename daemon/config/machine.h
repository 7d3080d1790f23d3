// What defaults are shares of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ml::daemon {

std::vector<int> allowed_cpus();  // by mld's affinity mask
// Of the machine, or of mld's memory cgroup where that is less.
std::uint64_t memory_bytes();
// Of the file system where `path` is or will be.
std::uint64_t file_system_bytes(const std::string& path);

}  // namespace ml::daemon
