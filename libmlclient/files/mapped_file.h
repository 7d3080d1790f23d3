// A file's bytes, mapped.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace ml::files {

class MappedFile {
 public:
  // Throws not_found when there is no such file and io for anything else that goes wrong. The mapping is private (what
  // is written to it stays in this process) and not inherited by a forked child.
  explicit MappedFile(const std::string& path);
  // An open file, called `name` in messages. It may be closed afterwards.
  MappedFile(int fd, std::string name);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return {base_, size_}; }
  std::byte* base() const noexcept { return base_; }
  // Whether `bytes` are some of these.
  bool holds(std::span<const std::byte> bytes) const noexcept {
    return bytes.data() >= base_ && bytes.data() + bytes.size() <= base_ + size_ && !bytes.empty();
  }

 private:
  void map(int fd);

  std::string path_;
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ml::files
