// A model's bytes: taken from a sealed memfd, kept on disk, held against their checksum.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace ml::daemon {

// Throws denied unless `file` is a memfd sealed with SHRINK, GROW and WRITE, and invalid_argument unless it is `bytes`
// long.
void check_sealed(int file, std::uint64_t bytes);

// Copies all of `file` into a new file at `path` (mode 0400), written through to the disk. Answers its checksum,
// "sha256:" and 64 hexadecimal digits. Throws io, no_space, or cancelled once `stop` is set; then the file may be there
// in part.
std::string copy_and_sync(int file, std::uint64_t bytes, const std::string& path, const std::atomic<bool>& stop);

// Of a file on disk. Throws io, cancelled.
std::string checksum_of(const std::string& path, const std::atomic<bool>& stop);

// Writes a small file through to the disk.
void write_and_sync(const std::string& path, const std::string& text);
// Makes names in a folder durable.
void sync_folder(const std::string& path);

}  // namespace ml::daemon
