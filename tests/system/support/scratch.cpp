#include "tests/system/support/scratch.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <system_error>

namespace ml::test {

Scratch::Scratch(bool searchable) {
  // Paths of unix sockets are short (108 bytes), so the name is too.
  std::string name = std::filesystem::temp_directory_path() / "mlt-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::generic_category(), name);
  path_ = name;
  if (searchable && chmod(name.c_str(), 0755) != 0) throw std::system_error(errno, std::generic_category(), name);
}

Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string Scratch::write(std::string_view name, std::string_view text) const {
  std::string path = file(name);
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path);
  return path;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  try {
    return {std::istreambuf_iterator<char>(in), {}};
  } catch (const std::ios_base::failure&) {
    return {};  // of a process that has ended since it was opened
  }
}

}  // namespace ml::test
