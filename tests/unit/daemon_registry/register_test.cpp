// How models come in, and what keeps them out.
#include <sys/stat.h>

#include "tests/unit/daemon_registry/registry_fixture.h"

namespace ml::daemon::test {
namespace {

namespace fs = std::filesystem;

TEST_F(RegistryTest, AModelIsOnDiskTriedAndFoundAndSurvivesARestart) {
  const auto added = add(anna, "fashion", "abc");
  ASSERT_TRUE(added.value) << added.error->what();
  EXPECT_EQ(added.value->version, 1u);
  EXPECT_EQ(worker.log, std::vector<std::string>{"load"});
  EXPECT_EQ(worker.last_file, "abc");
  EXPECT_EQ(added.value->loaded_on, std::vector<std::string>{"cpu0"});
  EXPECT_EQ(limits->used(kAnna, Resource::models), 1u);
  EXPECT_EQ(limits->used(kAnna, Resource::model_bytes), 3u);

  EXPECT_TRUE(start().empty());
  const ModelVersion& found = registry->find("fashion", anna);
  EXPECT_EQ(found.version, 1u);
  EXPECT_EQ(found.bytes, 3u);
  EXPECT_EQ(found.owner, kAnna);
  EXPECT_FALSE(found.shared);
  EXPECT_EQ(found.registered_at, added.value->registered_at);
  // FIPS 180-2, appendix B.1
  EXPECT_EQ(found.checksum, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_TRUE(found.loaded_on.empty());
  EXPECT_EQ(read_text(found.path), "abc");
  struct stat status {};
  ASSERT_EQ(stat(found.path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0400u);
  EXPECT_EQ(limits->used(kAnna, Resource::models), 1u);
  EXPECT_EQ(limits->used(kAnna, Resource::model_bytes), 3u);
}

TEST_F(RegistryTest, VersionsCountUpAndEachKeepsItsBytes) {
  EXPECT_EQ(add(anna, "fashion", "one").value->version, 1u);
  EXPECT_EQ(add(anna, "fashion", "two!").value->version, 2u);
  EXPECT_EQ(add(bert, "fashion", "bert's").value->version, 1u);
  EXPECT_EQ(*open(registry->find("fashion:1", anna), worker).value, "one");
  EXPECT_EQ(*open(registry->find("fashion:2", anna), worker).value, "two!");
  EXPECT_EQ(*open(registry->find("fashion", bert), worker).value, "bert's");
}

TEST_F(RegistryTest, WhatCouldStillBeChangedIsRefused) {
  struct Case {
    const char* what;
    transport::UniqueFd file;
  };
  Case cases[] = {
      {"no seals", memfd("x", 0)},
      {"without SHRINK", memfd("x", F_SEAL_GROW | F_SEAL_WRITE)},
      {"without GROW", memfd("x", F_SEAL_SHRINK | F_SEAL_WRITE)},
      {"without WRITE", memfd("x", F_SEAL_SHRINK | F_SEAL_GROW)},
      {"future writes only", memfd("x", F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)},
      {"an ordinary file", transport::UniqueFd(::open((folder / "x").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600))},
      {"a device", transport::UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC))},
      {"a folder", transport::UniqueFd(::open("/", O_RDONLY | O_CLOEXEC))},
  };
  for (Case& one : cases) {
    const auto outcome = add(anna, "fashion", std::move(one.file), 1);
    ASSERT_TRUE(outcome.error) << one.what;
    EXPECT_EQ(outcome.error->code(), Code::denied) << one.what;
  }
  EXPECT_TRUE(worker.log.empty());
  EXPECT_EQ(limits->used(kAnna, Resource::models), 0u);
}

TEST_F(RegistryTest, ASizeOtherThanAnnouncedIsRefusedWithBoth) {
  for (const std::uint64_t announced : {0ull, 4ull, 6ull, ~0ull}) {
    const auto outcome = add(anna, "fashion", sealed("12345"), announced);
    ASSERT_TRUE(outcome.error) << announced;
    EXPECT_EQ(outcome.error->code(), Code::invalid_argument);
    EXPECT_NE(outcome.error->message().find("5 bytes"), std::string::npos) << outcome.error->what();
    EXPECT_NE(outcome.error->message().find(std::to_string(announced)), std::string::npos) << outcome.error->what();
  }
  EXPECT_EQ(add(anna, "fashion", sealed(""), 0).error->code(), Code::invalid_argument);
}

TEST_F(RegistryTest, NamesThatAreNoFolderNamesAreRefused) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("-x"), std::string("_x"), std::string("A"),
        std::string("a/b"), std::string("a b"), std::string("a\0b", 3), std::string("ä"), std::string("a:1"),
        std::string("a@b"), std::string("../../etc"), std::string(64, 'a')}) {
    const auto outcome = add(anna, name);
    ASSERT_TRUE(outcome.error) << name;
    EXPECT_EQ(outcome.error->code(), Code::invalid_argument) << name;
  }
  EXPECT_TRUE(add(anna, std::string(63, 'a')).value);
  EXPECT_TRUE(add(anna, "0.a-b_c").value);
}

TEST_F(RegistryTest, EachLimitRefusesWithNothingLeftBehind) {
  config.limits.models = 2;
  config.limits.model_bytes = 100;
  ASSERT_TRUE(add(anna, "a", std::string(60, 'x')).value);
  const auto too_large = add(anna, "b", std::string(41, 'x'));
  ASSERT_TRUE(too_large.error);
  EXPECT_EQ(too_large.error->code(), Code::no_space);
  EXPECT_TRUE(too_large.error->context().starts_with("limits.model_bytes")) << too_large.error->context();
  EXPECT_EQ(limits->used(kAnna, Resource::models), 1u);
  ASSERT_TRUE(add(anna, "b", std::string(40, 'x')).value);
  const auto too_many = add(anna, "c", "x");
  ASSERT_TRUE(too_many.error);
  EXPECT_TRUE(too_many.error->context().starts_with("limits.models")) << too_many.error->context();
  EXPECT_TRUE(add(bert, "c", "x").value);
  EXPECT_TRUE(nothing_incoming());
}

TEST_F(RegistryTest, ALimitLoweredBelowWhatIsThereHidesNothing) {
  ASSERT_TRUE(add(anna, "a").value);
  ASSERT_TRUE(add(anna, "b").value);
  config.limits.models = 1;
  EXPECT_TRUE(start().empty());
  EXPECT_EQ(registry->list(anna).size(), 2u);
  EXPECT_TRUE(add(anna, "c").error);
}

TEST_F(RegistryTest, AModelThatTheWorkerRefusesIsNotRegistered) {
  const Error refusal(Code::corrupt, "no graph in it", "model.mlmodel");
  worker.refusal = &refusal;
  const auto outcome = add(anna, "fashion");
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code(), Code::corrupt);
  EXPECT_EQ(outcome.error->message(), "no graph in it");
  EXPECT_EQ(code_of_find("fashion", anna), Code::not_found);
  EXPECT_EQ(limits->used(kAnna, Resource::models), 0u);
  EXPECT_EQ(limits->used(kAnna, Resource::model_bytes), 0u);
  EXPECT_TRUE(nothing_incoming());
  worker.refusal = nullptr;
  EXPECT_EQ(add(anna, "fashion").value->version, 1u);
}

TEST_F(RegistryTest, AWorkerThatDiesWhileItTriesAModelLosesOnlyThatAttempt) {
  worker.answers_by_itself = false;
  worker.on_request = [this] {
    loop->post([this] {
      worker.lose_everything();
      registry->worker_died(worker);
    });
  };
  const auto outcome = add(anna, "fashion");
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code(), Code::device_lost);
  EXPECT_EQ(limits->used(kAnna, Resource::models), 0u);
  EXPECT_TRUE(nothing_incoming());
  worker.on_request = nullptr;
  worker.answers_by_itself = true;
  EXPECT_TRUE(add(anna, "fashion").value);
}

TEST_F(RegistryTest, AWorkerThatDiesWhileAModelIsCopiedIsNotUsedAfterwards) {
  std::optional<Error> failure;
  run([&](auto finished) {
    registry->add(anna, "fashion", false, sealed("x"), 1, worker, 5,
                  [&, finished](const ModelVersion*, const Error* error) {
                    if (error) failure = *error;
                    finished();
                  });
    registry->worker_died(worker);
  });
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code(), Code::device_lost);
  EXPECT_TRUE(worker.log.empty());
  EXPECT_TRUE(nothing_incoming());
}

TEST_F(RegistryTest, TwoAtOnceGetTwoVersions) {
  std::vector<std::uint64_t> versions;
  run([&](auto finished) {
    for (const char* content : {"first", "second"})
      registry->add(anna, "fashion", false, sealed(content), std::strlen(content), worker, 5,
                    [&, finished](const ModelVersion* model, const Error* error) {
                      ASSERT_FALSE(error) << error->what();
                      versions.push_back(model->version);
                      if (versions.size() == 2) finished();
                    });
  });
  std::sort(versions.begin(), versions.end());
  EXPECT_EQ(versions, (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(RegistryTest, EndingInTheMiddleOfACopyLeavesNothing) {
  const std::string large(4 << 20, 'x');
  config.limits.model_bytes = 1 << 30;
  bool called = false;
  registry->add(anna, "fashion", false, sealed(large), large.size(), worker, 5,
                [&](const ModelVersion*, const Error*) { called = true; });
  start();
  EXPECT_FALSE(called);
  EXPECT_TRUE(nothing_incoming());
  EXPECT_TRUE(registry->list(anna).empty());
  EXPECT_TRUE(add(anna, "fashion").value);
}

TEST_F(RegistryTest, WhatAnEarlierDaemonLeftHalfCopiedIsRemoved) {
  fs::create_directories(folder / "models/incoming/17");
  std::ofstream(folder / "models/incoming/17/model.mlmodel") << "half";
  EXPECT_TRUE(start().empty());
  EXPECT_TRUE(nothing_incoming());
}

}  // namespace
}  // namespace ml::daemon::test
