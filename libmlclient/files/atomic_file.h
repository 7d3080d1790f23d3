// Files that are whole or not there: written beside their path, synced, renamed.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace ml::files {

// Writes to a temporary file beside `path` (PATH.NUMBER.tmp); commit() makes it the file. Without commit() the
// temporary goes away and an old file stays as it was; with it the new file has the old one's permissions, and a link
// still leads to it. Throws no_space when the disk or a limit is full and io otherwise, naming path and reason; only a
// regular file is ever replaced.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(const std::string& text) { write(std::as_bytes(std::span(text))); }
  std::size_t size() const { return size_; }
  void commit();

 private:
  [[noreturn]] void fail(const char* what, int error);

  std::string path_, target_, temporary_;  // target_: path_ behind its links
  int fd_ = -1;
  std::size_t size_ = 0;
};

}  // namespace ml::files
