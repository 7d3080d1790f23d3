// Which worker has what: loading, opening, unloading, and workers that die.
#include "tests/unit/daemon_registry/registry_fixture.h"

namespace ml::daemon::test {
namespace {

using Log = std::vector<std::string>;

class LoadTest : public RegistryTest {
 protected:
  LoadTest() {
    EXPECT_TRUE(add(anna, "fashion", "bytes").value);
    start();  // so that no worker has it
    device.config.name = "cpu1";
    device.serving = std::make_unique<FakeWorker>(*loop, "cpu1");
    worker.log.clear();
  }
  FakeWorker& served() { return static_cast<FakeWorker&>(*device.serving); }
  const ModelVersion& model() { return registry->find("fashion", anna); }
  std::optional<Error> load() {
    std::optional<Error> failure;
    run([&](auto finished) {
      registry->load(model(), device, [&failure, finished](const Error* error) {
        if (error) failure = *error;
        finished();
      });
    });
    return failure;
  }
  std::optional<Error> unload() {
    std::optional<Error> failure;
    run([&](auto finished) {
      registry->unload(model(), device, [&failure, finished](const Error* error) {
        if (error) failure = *error;
        finished();
      });
    });
    return failure;
  }

  Device device;
};

TEST_F(LoadTest, TheFirstOpenLoadsAndTheNextOnesDoNot) {
  EXPECT_EQ(*open(model(), worker).value, "bytes");
  EXPECT_EQ(worker.log, (Log{"load", "open"}));
  EXPECT_EQ(model().loaded_on, Log{"cpu0"});
  EXPECT_EQ(*open(model(), worker).value, "bytes");
  EXPECT_EQ(worker.log, (Log{"load", "open", "open"}));
}

TEST_F(LoadTest, OpensDuringALoadWaitForItAndShareIt) {
  worker.answers_by_itself = false;
  int opened = 0;
  run([&](auto finished) {
    for (int i = 0; i < 3; ++i)
      registry->open(model(), worker, 5, [&, finished](const ModelVersion*, mlring_handle, int, const Error* error) {
        EXPECT_FALSE(error);
        if (++opened == 3) finished();
      });
    worker.on_request = [&] { loop->post([&] { worker.answer_next(); }); };
  });
  EXPECT_EQ(worker.log, (Log{"load", "open", "open", "open"}));
}

TEST_F(LoadTest, LoadAndUnloadReachTheDevice) {
  EXPECT_FALSE(load());
  EXPECT_EQ(model().loaded_on, Log{"cpu1"});
  EXPECT_FALSE(load());
  EXPECT_EQ(served().log, Log{"load"});
  EXPECT_FALSE(unload());
  EXPECT_TRUE(model().loaded_on.empty());
  EXPECT_FALSE(unload());
  EXPECT_EQ(served().log, (Log{"load", "unload"}));
  EXPECT_EQ(*open(model(), served()).value, "bytes");
  EXPECT_EQ(served().log, (Log{"load", "unload", "load", "open"}));
}

TEST_F(LoadTest, AnUnloadDuringALoadFollowsIt) {
  served().answers_by_itself = false;
  int answers = 0;
  run([&](auto finished) {
    const auto count = [&, finished](const Error* error) {
      EXPECT_FALSE(error);
      if (++answers == 2) finished();
    };
    registry->load(model(), device, count);
    registry->unload(model(), device, count);
    served().on_request = [&] { loop->post([&] { served().answer_next(); }); };
  });
  EXPECT_EQ(served().log, (Log{"load", "unload"}));
  EXPECT_TRUE(model().loaded_on.empty());
}

TEST_F(LoadTest, ARefusedLoadIsToldToAllAndTriedAgainNextTime) {
  const Error refusal(Code::out_of_memory, "no memory for its weights");
  worker.refusal = &refusal;
  EXPECT_EQ(open(model(), worker).error->message(), "no memory for its weights");
  worker.refusal = nullptr;
  EXPECT_TRUE(open(model(), worker).value);
  EXPECT_EQ(worker.log, (Log{"load", "load", "open"}));
}

TEST_F(LoadTest, AFullWorkerLetsGoOfWhatWasUsedLongestAgo) {
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(add(anna, name).value);
  worker.has = 0;
  registry->worker_died(worker);  // it has none now
  worker.room = 2;
  const auto on_worker = [&] {
    std::string names;
    for (const ModelVersion* each : registry->list(anna))
      if (each->loaded_on == Log{"cpu0"}) names += each->name + " ";
    return names;
  };
  EXPECT_TRUE(open(registry->find("a", anna), worker).value);
  EXPECT_TRUE(open(registry->find("b", anna), worker).value);
  EXPECT_TRUE(open(registry->find("a", anna), worker).value);
  EXPECT_EQ(on_worker(), "a b ");
  EXPECT_TRUE(open(registry->find("c", anna), worker).value);
  EXPECT_EQ(on_worker(), "a c ");
  worker.room = 0;
  worker.has = 0;
  EXPECT_EQ(open(registry->find("b", anna), worker).error->code(), Code::no_space);
  EXPECT_EQ(on_worker(), "") << "it was given all the room there is";
}

TEST_F(LoadTest, LoadedModelsTakeAtMostHalfOfTheMemory) {
  worker.set_memory(80);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(add(anna, "m" + std::to_string(i), std::string(16, 'x')).value);
  int loaded = 0;
  for (const ModelVersion* each : registry->list(anna)) loaded += each->loaded_on == Log{"cpu0"};
  EXPECT_EQ(loaded, 2);
  EXPECT_EQ(registry->find("m4", anna).loaded_on, Log{"cpu0"});
  EXPECT_TRUE(add(anna, "large", std::string(1000, 'x')).value) << "what is larger than that is tried all the same";
}

TEST_F(LoadTest, ADeadWorkerHasNothingAndTheNextOneLoadsAgain) {
  EXPECT_FALSE(load());
  registry->worker_died(*device.serving);
  EXPECT_TRUE(model().loaded_on.empty());
  device.serving.reset();
  EXPECT_EQ(load()->code(), Code::device_lost);
  EXPECT_FALSE(unload());
  device.serving = std::make_unique<FakeWorker>(*loop, "cpu1");
  EXPECT_FALSE(load());
  EXPECT_EQ(served().log, Log{"load"});
}

TEST_F(LoadTest, WhoWaitsForAWorkerThatDiesIsTold) {
  worker.answers_by_itself = false;
  int lost = 0;
  run([&](auto finished) {
    for (int i = 0; i < 2; ++i)
      registry->open(model(), worker, 5, [&, finished](const ModelVersion*, mlring_handle, int, const Error* error) {
        ASSERT_TRUE(error);
        EXPECT_EQ(error->code(), Code::device_lost);
        if (++lost == 2) finished();
      });
    worker.on_request = [&] {
      loop->post([&] {
        worker.lose_everything();
        registry->worker_died(worker);
      });
    };
  });
  EXPECT_EQ(lost, 2);
}

TEST_F(LoadTest, AWorkerThatDiesWhileBytesAreCheckedIsNotUsedAfterwards) {
  std::optional<Error> failure;
  run([&](auto finished) {
    registry->open(model(), worker, 5, [&, finished](const ModelVersion*, mlring_handle, int, const Error* error) {
      if (error) failure = *error;
      finished();
    });
    registry->worker_died(worker);
  });
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code(), Code::device_lost);
  EXPECT_FALSE(load());  // the check goes on, and its result counts
  EXPECT_TRUE(worker.log.empty());
}

TEST_F(LoadTest, ChangedBytesAreFoundBeforeAWorkerSeesThem) {
  ASSERT_TRUE(add(anna, "other", "fine").value);
  const std::string path = model().path;
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  std::ofstream(path) << "bytez";
  const auto outcome = open(model(), worker);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code(), Code::corrupt);
  EXPECT_EQ(worker.log, Log{"load"});  // of the other one, when it was registered
  EXPECT_EQ(code_of_find("fashion", anna), Code::not_found);
  EXPECT_TRUE(std::filesystem::exists(folder / "models/damaged/3000001+fashion+1/model.mlmodel"));
  EXPECT_NE(read_text(folder / "models/damaged/3000001+fashion+1.reason").find("checksum"), std::string::npos);
  ASSERT_EQ(registry->set_aside().size(), 1u);
  EXPECT_NE(registry->set_aside()[0].find("3000001/fashion/1"), std::string::npos);
  EXPECT_EQ(limits->used(kAnna, Resource::models), 1u);
  EXPECT_EQ(*open(registry->find("other", anna), worker).value, "fine");
  EXPECT_EQ(add(anna, "fashion", "again").value->version, 2u);  // the number stays taken
}

}  // namespace
}  // namespace ml::daemon::test
