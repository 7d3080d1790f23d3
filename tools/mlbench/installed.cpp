#include "tools/mlbench/installed.h"

#include <filesystem>

#include "ml/error.h"

namespace ml::bench {

std::string installed_file(std::initializer_list<std::string_view> paths) {
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  std::string tried;
  for (const std::string_view path : paths) {
    const std::filesystem::path file = (here / path).lexically_normal();
    if (std::filesystem::exists(file)) return file;
    tried += (tried.empty() ? "" : ", ") + file.string();
  }
  throw Error(Code::not_found, "none of these is there: " + tried, {}, "run make build, or make install");
}

}  // namespace ml::bench
