// manifest.toml: what is known of a registered version, beside its file.
#pragma once

#include <cstdint>
#include <string>

namespace ml::daemon {

struct Manifest {
  std::uint32_t owner = 0;
  std::string name;
  std::uint64_t version = 0;
  bool shared = false;
  std::uint64_t bytes = 0;
  std::string checksum;             // "sha256:..."
  std::uint64_t registered_at = 0;  // CLOCK_REALTIME ns
};

std::string to_toml(const Manifest& manifest);
// Reads a file. Throws io, or corrupt naming the key.
Manifest read_manifest(const std::string& path);

}  // namespace ml::daemon
