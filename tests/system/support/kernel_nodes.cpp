#include "tests/system/support/kernel_nodes.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>
#include <vector>

namespace ml::test {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& file) {
  std::string text;
  std::ifstream(file) >> text;
  return text;
}

// The folder of attributes of each of the module's nodes.
std::vector<std::pair<std::uint32_t, fs::path>> nodes() {
  std::vector<std::pair<std::uint32_t, fs::path>> found;
  for (const auto& [folder, prefix] :
       {std::pair{"/sys/class/accel", "accel"}, std::pair{"/sys/class/drm", "renderD"}}) {
    std::error_code none;
    for (const fs::directory_entry& node : fs::directory_iterator(folder, none)) {
      const std::string name = node.path().filename();
      const fs::path attributes = node.path() / "device";
      if (name.starts_with(prefix) && fs::exists(attributes / "backend", none) &&
          fs::canonical(attributes, none).filename().string().starts_with("mlaccel"))
        found.emplace_back(std::stoul(name.substr(std::string(prefix).size())), attributes);
    }
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

std::optional<std::uint32_t> kernel_minor(const std::string& device) {
  for (const auto& [minor, attributes] : nodes())
    if (device.empty() || text_of(attributes / "name") == device) return minor;
  return std::nullopt;
}

std::uint64_t kernel_attribute(std::uint32_t minor, const std::string& name) {
  for (const auto& [number, attributes] : nodes())
    if (number == minor) return std::stoull(text_of(attributes / name));
  throw std::runtime_error("the kernel module has no node " + std::to_string(minor));
}

}  // namespace ml::test
