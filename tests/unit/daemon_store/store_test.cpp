#include "daemon/store/store.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "daemon/store/schema.h"
#include "daemon/store/sqlite.h"
#include "ml/error.h"
#include "tests/support/temp_directory.h"

namespace ml::daemon {
namespace {

StoredJob sample_job() {
  StoredJob job;
  job.uid = 4'000'000'000u;
  job.gid = 1001;
  job.name = "fashion";
  job.specification = std::string("seed = 1\n\0tail", 14);
  job.directory = "/data/a b/ü";
  job.devices = 2;
  job.backend = "cpu";
  job.memory_bytes = std::numeric_limits<std::uint64_t>::max();
  job.priority = -100;
  job.deadline = 1'700'000'000'000'000'000;
  job.state = "queued";
  job.reason = "";
  job.exit_code = -9;
  job.submitted_at = 1, job.started_at = 2, job.ended_at = 3;
  job.device_ns = 4;
  job.starts = 5, job.preemptions = 6, job.failures = 7;
  job.step = 8, job.steps = 9, job.epoch = 10, job.epochs = 11, job.checkpoint_step = 12;
  job.loss = 0.1, job.accuracy = 0.9;
  return job;
}

void expect_equal(const StoredJob& a, const StoredJob& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.uid, b.uid);
  EXPECT_EQ(a.gid, b.gid);
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.specification, b.specification);
  EXPECT_EQ(a.directory, b.directory);
  EXPECT_EQ(a.devices, b.devices);
  EXPECT_EQ(a.backend, b.backend);
  EXPECT_EQ(a.memory_bytes, b.memory_bytes);
  EXPECT_EQ(a.priority, b.priority);
  EXPECT_EQ(a.deadline, b.deadline);
  EXPECT_EQ(a.state, b.state);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.exit_code, b.exit_code);
  EXPECT_EQ(a.submitted_at, b.submitted_at);
  EXPECT_EQ(a.started_at, b.started_at);
  EXPECT_EQ(a.ended_at, b.ended_at);
  EXPECT_EQ(a.device_ns, b.device_ns);
  EXPECT_EQ(a.starts, b.starts);
  EXPECT_EQ(a.preemptions, b.preemptions);
  EXPECT_EQ(a.failures, b.failures);
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.epochs, b.epochs);
  EXPECT_EQ(a.checkpoint_step, b.checkpoint_step);
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.accuracy, b.accuracy);
}

// What opening this file throws.
Error refusal(const std::string& path) {
  try {
    Store store(path);
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << path << " was opened";
  return Error(Code::internal, "");
}

TEST(Store, EveryFieldOfAJobSurvivesARestart) {
  test::TempDirectory folder;
  StoredJob job = sample_job();
  {
    Store store(folder / "state.db");
    job.id = store.add_job(job);
  }
  Store store(folder / "state.db");
  ASSERT_EQ(store.jobs().size(), 1u);
  expect_equal(store.jobs()[0], job);

  job.state = "running";
  job.step = 99;
  job.loss = std::numeric_limits<double>::infinity();
  store.update_job(job);
  expect_equal(store.jobs()[0], job);
}

TEST(Store, ALossThatIsNotANumberIsKept) {
  test::TempDirectory folder;
  Store store(folder / "state.db");
  StoredJob job = sample_job();
  job.loss = std::numeric_limits<double>::quiet_NaN();
  store.add_job(job);
  EXPECT_TRUE(std::isnan(store.jobs()[0].loss));
  EXPECT_EQ(store.jobs()[0].accuracy, 0.9);
}

TEST(Store, TheNumberOfARemovedJobIsNeverUsedAgain) {
  test::TempDirectory folder;
  std::uint64_t first;
  {
    Store store(folder / "state.db");
    first = store.add_job(sample_job());
    store.remove_job(first);
    EXPECT_TRUE(store.jobs().empty());
  }
  Store store(folder / "state.db");
  EXPECT_GT(store.add_job(sample_job()), first);
}

TEST(Store, UpdatingAJobThatIsNotThereIsAnError) {
  test::TempDirectory folder;
  Store store(folder / "state.db");
  StoredJob job = sample_job();
  job.id = 7;
  try {
    store.update_job(job);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_found);
  }
}

TEST(Store, AliasesDrainedDevicesAndUsageSurviveARestart) {
  test::TempDirectory folder;
  {
    Store store(folder / "state.db");
    store.set_alias({1000, "fashion", "latest", 2, 0});
    store.set_alias({1000, "fashion", "latest", 3, 2});
    store.set_alias({1001, "fashion", "latest", 1, 0});
    store.set_drained("cpu0", true);
    store.set_drained("cpu0", true);
    store.set_drained("cpu1", true);
    store.set_drained("cpu1", false);
    store.set_drained("cpu2", false);
    store.set_usage({1000, 1.5, 10});
    store.set_usage({1000, 2.25, 20});
  }
  Store store(folder / "state.db");
  const std::vector<StoredAlias> aliases = store.aliases();
  ASSERT_EQ(aliases.size(), 2u);
  EXPECT_EQ(aliases[0].owner, 1000u);
  EXPECT_EQ(aliases[0].name, "fashion");
  EXPECT_EQ(aliases[0].alias, "latest");
  EXPECT_EQ(aliases[0].version, 3u);
  EXPECT_EQ(aliases[0].previous, 2u);
  EXPECT_EQ(aliases[1].owner, 1001u);
  EXPECT_EQ(store.drained(), std::vector<std::string>{"cpu0"});
  ASSERT_EQ(store.usage().size(), 1u);
  EXPECT_EQ(store.usage()[0].device_seconds, 2.25);
  EXPECT_EQ(store.usage()[0].at, 20u);
}

// A file as the first released schema made it, filled by what wrote it then.
TEST(Store, AFileOfTheFirstSchemaIsMigratedWithWhatItHolds) {
  test::TempDirectory folder;
  const std::string path = folder / "state.db";
  {
    Database database(path);
    migrate(database, 1);
    database.execute(
        "INSERT INTO jobs (uid, gid, name, specification, directory, devices, backend, memory_bytes, priority, "
        "deadline,"
        " state, reason, exit_code, submitted_at, started_at, ended_at, starts, failures, step, steps, epoch, epochs,"
        " loss, accuracy) VALUES (1000, 100, 'old', 'seed = 1', '/tmp', 1, 'cpu', 77, 5, 0, 'queued', '', 0, 1, 0, 0, "
        "0,"
        " 0, 3, 4, 5, 6, 0.5, NULL)");
    database.execute("INSERT INTO aliases VALUES (1000, 'fashion', 'latest', 2, 1)");
    EXPECT_EQ(database.pragma("user_version"), 1u);
    EXPECT_THROW(database.execute("SELECT * FROM drained"), Error);
  }
  Store store(path);
  ASSERT_EQ(store.jobs().size(), 1u);
  const StoredJob job = store.jobs()[0];
  EXPECT_EQ(job.name, "old");
  EXPECT_EQ(job.memory_bytes, 77u);
  EXPECT_EQ(job.epochs, 6u);
  EXPECT_EQ(job.loss, 0.5);
  EXPECT_TRUE(std::isnan(job.accuracy));
  EXPECT_EQ(job.device_ns, 0u);
  EXPECT_EQ(job.preemptions, 0u);
  ASSERT_EQ(store.aliases().size(), 1u);
  EXPECT_EQ(store.aliases()[0].previous, 1u);
  store.set_drained("cpu0", true);
  store.set_usage({1000, 1, 1});
  EXPECT_EQ(store.drained().size(), 1u);
}

TEST(Store, AMigrationThatFailsLeavesTheFileAsItWas) {
  test::TempDirectory folder;
  const std::string path = folder / "state.db";
  {
    Database database(path);
    migrate(database, 1);
    database.execute("CREATE TABLE usage (something INTEGER)");  // in the way of step 2's last statement
  }
  refusal(path);
  Database database(path);
  EXPECT_EQ(database.pragma("user_version"), 1u);
  Statement columns(database, "SELECT count(*) FROM pragma_table_info('jobs') WHERE name = 'device_ns'");
  ASSERT_TRUE(columns.step());
  EXPECT_EQ(columns.integer(0), 0u);
}

TEST(Store, AFileOfANewerSchemaIsRefusedWithBothVersions) {
  test::TempDirectory folder;
  const std::string path = folder / "state.db";
  { Store store(path); }
  {
    Database database(path);
    database.execute("PRAGMA user_version = 41");
  }
  const Error error = refusal(path);
  EXPECT_EQ(error.code(), Code::unsupported);
  EXPECT_NE(error.message().find("41"), std::string::npos) << error.what();
  EXPECT_NE(error.message().find("up to " + std::to_string(schema_steps().size())), std::string::npos) << error.what();
  EXPECT_EQ(error.context(), path);
  EXPECT_NE(error.hint(), "");
}

TEST(Store, AnothersDatabaseIsLeftAlone) {
  test::TempDirectory folder;
  const std::string path = folder / "state.db";
  {
    Database database(path);
    database.execute("CREATE TABLE jobs (theirs TEXT); INSERT INTO jobs VALUES ('x')");
  }
  EXPECT_EQ(refusal(path).code(), Code::corrupt);
  Database database(path);
  Statement theirs(database, "SELECT theirs FROM jobs");
  ASSERT_TRUE(theirs.step());
  EXPECT_EQ(theirs.text(0), "x");
}

TEST(Store, ASecondDaemonOnTheSameFileIsTold) {
  test::TempDirectory folder;
  Store store(folder / "state.db");
  const Error error = refusal(folder / "state.db");
  EXPECT_EQ(error.code(), Code::again);
  EXPECT_NE(error.hint().find("another mld"), std::string::npos) << error.what();
}

TEST(Store, AFolderThatIsNotThereIsNamed) {
  test::TempDirectory folder;
  const Error error = refusal(folder / "missing/state.db");
  EXPECT_EQ(error.code(), Code::io);
  EXPECT_EQ(error.context(), folder / "missing/state.db");
}

struct Damage {
  const char* name;
  void (*apply)(const std::string& path);
};

class DamagedStore : public testing::TestWithParam<Damage> {};

TEST_P(DamagedStore, IsRefusedWithWhatToDo) {
  test::TempDirectory folder;
  const std::string path = folder / "state.db";
  {
    Store store(path);
    for (int i = 0; i < 200; ++i) store.add_job(sample_job());
  }
  GetParam().apply(path);
  const Error error = refusal(path);
  EXPECT_EQ(error.code(), Code::corrupt) << error.what();
  EXPECT_EQ(error.context(), path);
  EXPECT_NE(error.hint().find("move the file"), std::string::npos) << error.what();
}

void overwrite(const std::string& path, std::uint64_t offset, std::size_t bytes, char with) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file << std::string(bytes, with);
}

INSTANTIATE_TEST_SUITE_P(
    Store, DamagedStore,
    testing::Values(Damage{"NotSqlite", [](const std::string& path) { overwrite(path, 0, 4096, 'x'); }},
                    Damage{"FirstPageTorn", [](const std::string& path) { overwrite(path, 100, 400, '\xff'); }},
                    Damage{"PagesOverwritten",
                           [](const std::string& path) {
                             overwrite(path, 4096, std::filesystem::file_size(path) - 4096, '\x5a');
                           }},
                    Damage{"CutOff",
                           [](const std::string& path) {
                             std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
                           }}),
    [](const auto& damage) { return std::string(damage.param.name); });

}  // namespace
}  // namespace ml::daemon
