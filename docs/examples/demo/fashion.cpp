#include "fashion.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>

namespace demo {

const char* label(std::int64_t number) {
  static const char* const labels[kClasses] = {"T-shirt", "trousers", "pullover", "dress", "coat",
                                               "sandal",  "shirt",    "sneaker",  "bag",   "ankle boot"};
  if (number < 0 || number >= kClasses)
    throw ml::Error(ml::Code::out_of_range, "there is no class " + std::to_string(number) + ", only 0 to 9");
  return labels[number];
}

std::shared_ptr<ml::data::IdxDataset> open_fashion(const std::string& folder, const std::string& part) {
  const std::string base = folder + "/" + part;
  try {
    // Mean and deviation of the training images' pixels.
    return std::make_shared<ml::data::IdxDataset>(base + "-images-idx3-ubyte", base + "-labels-idx1-ubyte",
                                                  ml::data::IdxOptions{.mean = 0.2860, .deviation = 0.3530});
  } catch (const ml::Error& error) {
    if (error.code() != ml::Code::not_found) throw;
    throw ml::Error(error.code(), error.message(), "Fashion-MNIST",
                    "`make demo` installs Debian's package dataset-fashion-mnist and decompresses it; " + error.hint());
  }
}

std::map<std::string, std::string> parse_options(int argc, char** argv, std::map<std::string, std::string> defaults,
                                                 const std::string& usage) {
  const auto fail = [&](const std::string& what) {
    std::cerr << what << "\nusage: " << argv[0] << " " << usage << "\n";
    std::exit(2);
  };
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--help") {
      std::cout << "usage: " << argv[0] << " " << usage << "\n";
      std::exit(0);
    }
    const auto option = defaults.find(name);
    if (option == defaults.end()) fail("unknown option " + name);
    if (i + 1 == argc) fail("option " + name + " needs a value");
    option->second = argv[i + 1];
  }
  for (const auto& [name, value] : defaults) {
    if (value.empty()) fail("option " + name + " is missing");
  }
  return defaults;
}

std::int64_t parse_count(const std::string& name, const std::string& value) {
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), count);
  if (error == std::errc{} && end == value.data() + value.size() && count > 0) return count;
  std::cerr << name << " wants a whole number from 1 on, not '" << value << "'\n";
  std::exit(2);
}

void want_writable(const std::string& path) {
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  std::error_code ignored;
  int error = access(folder.c_str(), W_OK | X_OK) != 0 ? errno : 0;
  if (error == 0 && !std::filesystem::is_directory(folder, ignored)) error = ENOTDIR;
  if (error == 0 && std::filesystem::is_directory(path, ignored)) error = EISDIR;
  if (error != 0) {
    throw ml::Error(ml::Code::io, "'" + path + "' cannot be written: " + std::strerror(error), {},
                    "name a file in a folder that exists and may be written");
  }
}

int run(const char* program, int (*body)(int, char**), int argc, char** argv) {
  try {
    return body(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << program << ": " << error.what() << "\n";
    return 1;
  }
}

}  // namespace demo
