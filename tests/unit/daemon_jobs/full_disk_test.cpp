// Jobs whose states the store can't write for a while.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "daemon/jobs/jobs.h"
#include "daemon/registry/registry.h"
#include "ml/error.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_directory.h"

namespace ml::daemon {
namespace {

using test::require;

bool is_full(Store& store) {
  StoredJob large;
  large.state = "done";
  large.specification = std::string(60'000, 's');
  for (int i = 0; i < 100; ++i) {
    try {
      store.remove_job(store.add_job(large));
    } catch (const Error& error) {
      return error.code() == Code::no_space;
    }
  }
  return false;
}

std::string stored_state(Store& store, std::uint64_t id) {
  for (const StoredJob& job : store.jobs())
    if (job.id == id) return job.state;
  return "not there";
}

TEST(JobsOnAFullDisk, GoOnAndAreStoredWhenThereIsRoom) {
  test::TempDirectory folder;
  EXPECT_TRUE(test::on_small_disk(folder.path(), "1m", [&] {
    Config config;
    config.user = true;
    config.state_directory = folder.path();
    config.devices = {{.name = "cpu0"}};
    const auto loop = Loop::create(Loop::Kind::epoll, nullptr);
    Limits limits(config);
    Devices devices(*loop, config);
    devices.all()[0].draining = true;  // so that nothing starts
    Store store(folder / "mld.sqlite");
    Registry registry(*loop, config, limits, store);
    Sessions sessions(*loop, config, limits, devices, registry);
    Jobs jobs(*loop, config, limits, devices, sessions, store);
    const Peer owner{geteuid(), getegid(), getpid(), false};
    StoredJob wanted;
    wanted.name = "waits";
    wanted.specification = "none";
    wanted.directory = "/";
    wanted.devices = 1;
    wanted.backend = "cpu";
    const std::uint64_t id = jobs.submit(owner, wanted);

    test::fill_disk(folder / "filler");
    require(is_full(store), "the disk is full");
    jobs.pause(id, owner);  // what the store refuses must not come out of the loop's functions: it would end mld
    require(jobs.show(id, owner).state == "paused", "it is paused all the same");
    require(stored_state(store, id) == "queued", "which could not be stored");

    require(unlink((folder / "filler").c_str()) == 0, "there is room again");
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    std::function<void()> look = [&] {
      if (stored_state(store, id) == "paused" || std::chrono::steady_clock::now() > deadline) return loop->stop();
      loop->after(10'000'000, look);
    };
    look();
    loop->run();
    require(stored_state(store, id) == "paused", "it is stored without anybody asking again");
  }));
}

}  // namespace
}  // namespace ml::daemon
