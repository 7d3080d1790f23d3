// A test's own temporary directory, gone with it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace ml::test {

class Scratch {
 public:
  // `searchable`: other users may enter it, as system mode needs.
  explicit Scratch(bool searchable = false);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ / name; }
  std::string write(std::string_view name, std::string_view text) const;  // answers its path

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::string& path);  // empty when there is none

}  // namespace ml::test
