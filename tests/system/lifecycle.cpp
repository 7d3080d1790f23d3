// mld from start to end: ready, refused, reloaded, drained, killed.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "tests/system/support/daemon.h"
#include "tests/system/support/mlctl.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

TEST(Lifecycle, SaysWhenItIsReadyAndServes) {
  Daemon daemon;
  // A bound, not the goal: `mlbench start` measures that.
  EXPECT_LT(daemon.start_time().count(), 5000);
  RawSession session(daemon.socket());
  compute_something(session);
  EXPECT_EQ(daemon.workers().size(), 1u);
}

TEST(Lifecycle, LeavesNothingBehindOnSigterm) {
  Daemon daemon;
  RawSession session(daemon.socket());
  compute_something(session);
  const std::vector<pid_t> workers = daemon.workers();
  const Ended ended = daemon.terminate();
  EXPECT_TRUE(ended.with(0)) << ended.describe();
  EXPECT_TRUE(daemon.notified("STOPPING=1"));
  EXPECT_TRUE(session.hung_up());
  for (const pid_t worker : workers) EXPECT_TRUE(eventually([&] { return !alive(worker); })) << worker;
  EXPECT_FALSE(std::filesystem::exists(daemon.socket()));
  EXPECT_FALSE(std::filesystem::exists(daemon.admin_socket()));
  daemon.start();
  RawSession again(daemon.socket());
  compute_something(again);
}

TEST(Lifecycle, TakesItsWorkersAlongWhenItIsKilledAndStartsAgain) {
  Daemon daemon;
  RawSession session(daemon.socket());
  compute_something(session);
  const std::vector<pid_t> workers = daemon.workers();
  ASSERT_FALSE(workers.empty());
  daemon.kill();
  EXPECT_TRUE(session.hung_up());
  for (const pid_t worker : workers) EXPECT_TRUE(eventually([&] { return !alive(worker); })) << worker;
  // The sockets of the killed one lie there still; they must not be in the way.
  EXPECT_TRUE(std::filesystem::exists(daemon.socket()));
  daemon.start();
  RawSession again(daemon.socket());
  compute_something(again);
}

TEST(Lifecycle, RefusesASecondDaemonOnTheSameSocketsAndGoesOn) {
  Daemon daemon;
  const Finished second =
      run_program({.arguments = {program_path("mld"), "--user", "--config", daemon.config(), "--socket",
                                 daemon.socket(), "--state", daemon.directory() + "/other-state"}});
  EXPECT_TRUE(second.ended.with(1)) << second.ended.describe();
  EXPECT_NE((second.out + second.err).find(daemon.socket()), std::string::npos) << second.out << second.err;
  RawSession session(daemon.socket());
  compute_something(session);
}

TEST(Lifecycle, RefusesASecondDaemonOnTheSameState) {
  Daemon daemon;
  const Finished second =
      run_program({.arguments = {program_path("mld"), "--user", "--config", daemon.config(), "--socket",
                                 daemon.directory() + "/other.sock", "--state", daemon.state()}});
  EXPECT_TRUE(second.ended.with(1)) << second.ended.describe();
  EXPECT_NE((second.out + second.err).find(daemon.state()), std::string::npos) << second.out << second.err;
}

TEST(Lifecycle, ListsEveryMistakeOfItsConfigurationAtOnce) {
  Daemon daemon({.toml = "log_level = \"loud\"\n"
                         "colour = \"blue\"\n"
                         "drain = 30\n"
                         "[limits]\n"
                         "sessions = \"many\"\n"
                         "[[device]]\n"
                         "backend = \"cpu\"\n"},
                Daemon::Stopped{});
  const std::optional<Ended> ended = daemon.start_refused();
  ASSERT_TRUE(ended) << "it started";
  EXPECT_TRUE(ended->with(2)) << ended->describe();
  const std::string log = daemon.log();
  for (const char* const expected : {"mld.toml:1:", "mld.toml:2:", "mld.toml:3:", "mld.toml:5:", "log_level", "colour",
                                     "drain:", "limits.sessions", "device.name"})
    EXPECT_NE(log.find(expected), std::string::npos) << expected << " is missing in\n" << log;
  EXPECT_FALSE(std::filesystem::exists(daemon.socket()));
}

TEST(Lifecycle, RefusesAConfigurationThatIsNoToml) {
  Daemon daemon({.toml = "[limits\nsessions = 1\n"}, Daemon::Stopped{});
  const std::optional<Ended> ended = daemon.start_refused();
  ASSERT_TRUE(ended) << "it started";
  EXPECT_TRUE(ended->with(2)) << ended->describe();
  EXPECT_NE(daemon.log().find("mld.toml:1:"), std::string::npos) << daemon.log();
}

TEST(Lifecycle, ReadsItsConfigurationAgainOnSighup) {
  Daemon daemon({.toml = "[limits]\nsessions = 1\n"});
  RawSession first(daemon.socket());
  EXPECT_THROW(RawSession(daemon.socket()), Refused);
  daemon.write_config("[limits]\nsessions = 2\n");
  daemon.signal(SIGHUP);
  ASSERT_TRUE(daemon.logged("reload")) << daemon.log();
  EXPECT_TRUE(eventually([&] {
    try {
      RawSession second(daemon.socket());
      return true;
    } catch (const Refused&) {
      return false;
    }
  }));
  compute_something(first);
}

TEST(Lifecycle, KeepsItsConfigurationWhenTheNewOneIsWrong) {
  Daemon daemon({.toml = "[limits]\nsessions = 1\n"});
  daemon.write_config("[limits]\nsessions = \"two\"\n");
  daemon.signal(SIGHUP);
  ASSERT_TRUE(daemon.logged("mld.toml:2:")) << daemon.log();
  RawSession first(daemon.socket());
  EXPECT_THROW(RawSession(daemon.socket()), Refused);
  compute_something(first);
}

TEST(Lifecycle, UsesEpollWhereIoUringIsRefusedAndSaysSo) {
  Daemon daemon({.wrapper = {program_path("refuse_io_uring")}});
  EXPECT_NE(daemon.log().find("epoll"), std::string::npos) << daemon.log();
  EXPECT_NE(daemon.log().find("io_uring"), std::string::npos) << daemon.log();
  EXPECT_NE(mlctl_out(daemon, {"status", "-o", "json"}).find("epoll"), std::string::npos);
  RawSession session(daemon.socket());
  compute_something(session);
}

TEST(Lifecycle, RefusesToStartWhenIoUringIsDemandedAndNotThere) {
  Daemon daemon({.toml = "loop = \"io_uring\"\n", .wrapper = {program_path("refuse_io_uring")}}, Daemon::Stopped{});
  const std::optional<Ended> ended = daemon.start_refused();
  ASSERT_TRUE(ended) << "it started";
  EXPECT_TRUE(ended->with(1)) << ended->describe();
  EXPECT_NE(daemon.log().find("io_uring"), std::string::npos) << daemon.log();
}

TEST(Lifecycle, KeepsItsSocketsToItsOwner) {
  Daemon daemon;
  for (const std::string& path : {daemon.socket(), daemon.admin_socket()}) {
    struct stat status {};
    ASSERT_EQ(stat(path.c_str(), &status), 0) << path;
    EXPECT_EQ(status.st_mode & 0777, 0600u) << path;
  }
}

}  // namespace
}  // namespace ml::test
