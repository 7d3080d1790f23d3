// A registry in a folder of its own, its loop, and somebody to register as.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "daemon/registry/registry.h"
#include "daemon/sessions/sessions.h"
#include "daemon/store/store.h"
#include "ml/error.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/daemon_registry/fake_worker.h"

namespace ml::daemon::test {

using ml::test::TempDirectory;

inline transport::UniqueFd memfd(const std::string& content, int seals) {
  transport::UniqueFd file(memfd_create("model", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(write(file.get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  EXPECT_EQ(fcntl(file.get(), F_ADD_SEALS, seals), 0);
  return file;
}
inline transport::UniqueFd sealed(const std::string& content) {
  return memfd(content, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What came of something: a value, or the error.
template <class T>
struct Outcome {
  std::optional<T> value;
  std::optional<Error> error;
};

class RegistryTest : public testing::Test {
 protected:
  // No user here has these numbers, so their names are the numbers.
  static constexpr std::uint32_t kAnna = 3000001, kBert = 3000002;
  const Peer anna{kAnna, kAnna, 1, false}, bert{kBert, kBert, 1, false}, root{0, 0, 1, true};

  RegistryTest() {
    config.state_directory = folder.path().string();
    config.limits.model_bytes = 1 << 20;
    start();
  }

  std::vector<std::string> start() {
    registry.reset();
    store.reset();
    limits = std::make_unique<Limits>(config);
    store = std::make_unique<Store>(folder / "state.db");
    registry = std::make_unique<Registry>(*loop, config, *limits, *store);
    return registry->scan();
  }
  // Runs the loop until `begin(finished)` has had `finished` called.
  template <class Begin>
  void run(Begin begin) {
    bool done = false;
    begin([&] {
      done = true;
      loop->stop();
    });
    while (!done) loop->run();
  }

  Outcome<ModelVersion> add(const Peer& owner, const std::string& name, transport::UniqueFd file, std::uint64_t bytes,
                            bool shared = false) {
    Outcome<ModelVersion> outcome;
    run([&](auto finished) {
      registry->add(owner, name, shared, std::move(file), bytes, worker, 5,
                    [&outcome, finished](const ModelVersion* model, const Error* error) {
                      if (model) outcome.value = *model;
                      if (error) outcome.error = *error;
                      finished();
                    });
    });
    return outcome;
  }
  Outcome<ModelVersion> add(const Peer& owner, const std::string& name, const std::string& content = "content",
                            bool shared = false) {
    return add(owner, name, sealed(content), content.size(), shared);
  }
  Outcome<std::string> open(const ModelVersion& model, WorkerProcess& on) {  // the file's content
    Outcome<std::string> outcome;
    run([&](auto finished) {
      registry->open(model, on, 5,
                     [&outcome, finished](const ModelVersion*, mlring_handle, int file, const Error* error) {
                       if (error) {
                         outcome.error = *error;
                       } else {
                         outcome.value = read_text("/proc/self/fd/" + std::to_string(file));
                       }
                       finished();
                     });
    });
    return outcome;
  }
  Code code_of_find(const std::string& reference, const Peer& who) {
    try {
      registry->find(reference, who);
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << reference << " was found";
    return Code::internal;
  }
  std::string version_folder(std::uint32_t uid, const std::string& name, std::uint64_t version) const {
    return folder / ("models/" + std::to_string(uid) + "/" + name + "/" + std::to_string(version));
  }
  bool nothing_incoming() const { return std::filesystem::is_empty(folder / "models/incoming"); }

  TempDirectory folder;
  std::unique_ptr<Loop> loop = Loop::create(Loop::Kind::epoll, nullptr);
  Config config;
  FakeWorker worker{*loop, "cpu0"};
  std::unique_ptr<Limits> limits;
  std::unique_ptr<Store> store;
  std::unique_ptr<Registry> registry;
};

}  // namespace ml::daemon::test
