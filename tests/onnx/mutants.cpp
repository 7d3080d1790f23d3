// Imports, plans and (small ones) runs mutants of ONNX models in little memory: each is refused with an ml::Error or
// goes through.
//
//   onnx_mutants SEED COUNT FILE MODEL...    FILE is the mutant at hand, and stays when something goes wrong
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "ml/error.h"
#include "tests/onnx/hostile.h"

namespace {

constexpr rlim_t kMemory = rlim_t{512} << 20;  // on top of what the process has before it begins

std::string read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot open ") + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void limit_memory() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t most = pages * 4096 + kMemory;
  const rlimit limit{most, most};
  if (setrlimit(RLIMIT_AS, &limit) != 0) throw std::runtime_error("setrlimit fails");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fputs("usage: onnx_mutants SEED COUNT FILE MODEL...\n", stderr);
    return 2;
  }
  const std::filesystem::path file = argv[3];
  std::size_t imported = 0, refused = 0;
  try {
    std::mt19937_64 random(std::stoull(argv[1]));
    std::vector<std::string> models;
    for (int i = 4; i < argc; ++i) models.push_back(read(argv[i]));
    limit_memory();
    for (std::uint64_t left = std::stoull(argv[2]); left > 0; --left) {
      std::string model = models[random() % models.size()];
      for (std::uint64_t changes = 1 + random() % 4; changes > 0; --changes)
        model = ml::onnx_test::mutated(model, random);
      std::ofstream(file, std::ios::binary) << model;
      try {
        ml::onnx_test::import_and_run(std::as_bytes(std::span(model)));
        ++imported;
      } catch (const ml::Error& error) {
        if (error.code() == ml::Code::internal) throw;
        ++refused;
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "onnx_mutants: seed %s, mutant %zu, %s: %s\n", argv[1], imported + refused, file.c_str(),
                 error.what());
    return 1;
  }
  std::filesystem::remove(file);
  std::printf("%zu imported, %zu refused\n", imported, refused);
  return 0;
}
