// A registry with damaged entries: mld starts, sets them aside, says so, and serves the rest.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/system/support/daemon.h"
#include "tests/system/support/mlctl.h"
#include "tests/system/support/models.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

namespace fs = std::filesystem;

class DamagedRegistry : public testing::Test {
 protected:
  DamagedRegistry() {
    RawSession session(daemon.socket());
    for (int version = 1; version <= 4; ++version) register_model(session, "fashion");
    register_model(session, "other");
  }
  std::string folder(const std::string& name, int version) const {
    return daemon.state() + "/models/" + std::to_string(getuid()) + "/" + name + "/" + std::to_string(version);
  }
  std::string damaged() const { return daemon.state() + "/models/damaged"; }
  // The version that a reference is opened as; 0: there is none.
  std::uint64_t open(const std::string& reference) {
    RawSession session(daemon.socket());
    protocol::OpenModel message{};
    message.header.kind = static_cast<std::uint32_t>(protocol::Kind::open_model);
    try {
      return session.request(message, reference).as<protocol::ModelOpened>()->version;
    } catch (const Refused& refused) {
      if (refused.status != MLRING_NOT_FOUND) throw;
      return 0;
    }
  }

  Daemon daemon;
};

TEST_F(DamagedRegistry, IsSetAsideAndTheRestServes) {
  daemon.terminate();
  fs::remove(folder("fashion", 4) + "/manifest.toml");
  fs::permissions(folder("fashion", 3) + "/model.mlmodel", fs::perms::owner_all);
  fs::resize_file(folder("fashion", 3) + "/model.mlmodel", 10);
  std::ofstream(daemon.state() + "/models/stray file") << "x";
  daemon.start();

  EXPECT_EQ(open("fashion"), 2u);
  EXPECT_EQ(open("fashion:1"), 1u);
  EXPECT_EQ(open("fashion:3"), 0u);
  EXPECT_EQ(open("fashion:4"), 0u);
  EXPECT_EQ(open("other"), 1u);
  const std::string status = mlctl_out(daemon, {"status", "-o", "json"});
  EXPECT_NE(status.find("fashion/4: the manifest is missing"), std::string::npos) << status;
  EXPECT_NE(status.find("fashion/3: model.mlmodel has 10 bytes"), std::string::npos) << status;
  EXPECT_NE(status.find("stray file"), std::string::npos) << status;
  EXPECT_TRUE(daemon.logged("fashion/4: the manifest is missing"));
  const std::string entry = damaged() + "/" + std::to_string(getuid()) + "+fashion+4";
  EXPECT_TRUE(fs::exists(entry + "/model.mlmodel")) << "nothing is deleted";
  EXPECT_NE(read_file(entry + ".reason").find("manifest is missing"), std::string::npos);

  RawSession session(daemon.socket());
  EXPECT_EQ(register_model(session, "fashion"), 5u) << "the numbers of what is damaged stay taken";
  EXPECT_EQ(open("fashion"), 5u);
}

TEST_F(DamagedRegistry, ChangedBytesAreFoundWhenTheModelIsFirstUsed) {
  daemon.terminate();
  const std::string path = folder("fashion", 4) + "/model.mlmodel";
  fs::permissions(path, fs::perms::owner_all);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(fs::file_size(path) - 1));
  file.put('\x7f');
  file.close();
  daemon.start();

  const Finished loaded = mlctl(daemon, {"model", "load", "fashion:4"});
  EXPECT_FALSE(loaded.ended.with(0));
  EXPECT_NE(loaded.err.find("MLE-0211"), std::string::npos) << loaded.err;
  EXPECT_EQ(open("fashion:4"), 0u);
  EXPECT_EQ(open("fashion"), 3u);
  EXPECT_TRUE(fs::exists(damaged() + "/" + std::to_string(getuid()) + "+fashion+4"));
  EXPECT_NE(mlctl_out(daemon, {"status"}).find("checksum"), std::string::npos);
}

TEST_F(DamagedRegistry, WhatWasOnItsWayInWhenMldWasKilledIsRemoved) {
  daemon.kill();
  fs::create_directories(daemon.state() + "/models/incoming/1");
  std::ofstream(daemon.state() + "/models/incoming/1/model.mlmodel") << "half of it";
  daemon.start();
  EXPECT_TRUE(fs::is_empty(daemon.state() + "/models/incoming"));
  EXPECT_EQ(open("fashion"), 4u);
}

// mld.sqlite is no model: without it aliases and jobs are gone, which is nothing that mld may decide.
TEST_F(DamagedRegistry, ADamagedStateDatabaseIsRefusedWithWhatToDo) {
  daemon.terminate();
  const std::string path = daemon.state() + "/mld.sqlite";
  std::ofstream(path, std::ios::binary | std::ios::trunc) << std::string(8192, 'x');
  const std::optional<Ended> ended = daemon.start_refused();
  ASSERT_TRUE(ended);
  EXPECT_TRUE(ended->with(1)) << ended->describe();
  EXPECT_NE(daemon.log().find(path), std::string::npos) << daemon.log();
  EXPECT_NE(daemon.log().find("move the file"), std::string::npos) << daemon.log();
  for (const char* suffix : {"", "-wal", "-shm"}) fs::remove(path + suffix);
  daemon.start();
  EXPECT_EQ(open("fashion"), 4u);
}

}  // namespace
}  // namespace ml::test
