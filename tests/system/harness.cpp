// The harness itself: a test that can't fail would hold nobody to anything.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "tests/system/support/baseline.h"
#include "tests/system/support/daemon.h"
#include "tests/system/support/process.h"
#include "tests/system/support/randomness.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

TEST(Harness, KeepsTheOutputAndTheEndOfAProgram) {
  const Finished finished = run_program({.arguments = {"sh", "-c", "echo out; echo err >&2; exit 3"}});
  EXPECT_TRUE(finished.ended.with(3)) << finished.ended.describe();
  EXPECT_EQ(finished.out, "out\n");
  EXPECT_EQ(finished.err, "err\n");
  EXPECT_TRUE(run_program({.arguments = {"sh", "-c", "kill -9 $$"}}).ended.by_signal(SIGKILL));
  EXPECT_THROW(run_program({.arguments = {"sleep", "60"}}, Milliseconds(50)), std::runtime_error);
}

TEST(Harness, SetsAndTakesAwayTheEnvironment) {
  const Finished finished =
      run_program({.arguments = {"sh", "-c", "echo $A-$HOME"}, .environment = {{"A", "x"}, {"HOME", ""}}});
  EXPECT_EQ(finished.out, "x-\n");
}

TEST(Harness, RunsAFunctionAsAnotherUser) {
  need_root();
  const std::string ids = run_as(12345, 54321, [] {
    return std::to_string(getuid()) + " " + std::to_string(getegid()) + " " + std::to_string(getgroups(0, nullptr));
  });
  EXPECT_EQ(ids, "12345 54321 0");
  try {
    run_as(12345, 54321, []() -> std::string { throw std::runtime_error("what happened"); });
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "what happened");
  }
  EXPECT_THROW(run_as(12345, 54321, []() -> std::string { _exit(0); }), std::runtime_error);
}

TEST(Harness, ListsChildren) {
  Program child({.arguments = {"sleep", "60"}});
  const auto is_it = [&](const ProcessEntry& entry) { return entry.pid == child.process().pid(); };
  EXPECT_TRUE(eventually([&] { return std::ranges::any_of(children_of(getpid()), is_it); }));
  EXPECT_TRUE(child.process().kill().by_signal(SIGKILL));
  EXPECT_FALSE(std::ranges::any_of(children_of(getpid()), is_it));
}

TEST(Harness, FindsWhatAProcessDoesNotGiveBack) {
  const Baseline before({getpid()});
  EXPECT_TRUE(before.restored(Milliseconds(0)));
  {
    const transport::UniqueFd memory = make_memory({.bytes = 1u << 20});
    const testing::AssertionResult leaking = before.restored(Milliseconds(0));
    EXPECT_FALSE(leaking);
    EXPECT_NE(std::string(leaking.message()).find("memfds 0 -> 1"), std::string::npos) << leaking.message();
    const RawArena arena(transport::UniqueFd(dup(memory.get())), 1u << 20, 1);
    EXPECT_EQ(usage_of(getpid()).memfd_mapped_bytes, 1u << 20);
  }
  EXPECT_TRUE(before.restored(Milliseconds(0)));
}

TEST(Harness, SealsAnArena) { EXPECT_EQ(ftruncate(make_memory().get(), 1), -1); }

TEST(Harness, TakesPercentiles) {
  const std::vector<int> values{5, 1, 4, 2, 3};
  EXPECT_EQ(median(values), 3);
  EXPECT_EQ(percentile(values, 99), 5);
  EXPECT_EQ(percentile(values, 0), 1);
}

TEST(Harness, SaysThatNobodyListens) { EXPECT_THROW(RawSession("/nowhere/mld.sock"), std::system_error); }

}  // namespace
}  // namespace ml::test
