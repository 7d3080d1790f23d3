// Checkpoints under everything that can go wrong while they are written: each call that fails, each place to be killed
// at, files that are torn or damaged. Training goes on from the last good one and ends with the same bits.
//
// mld-job runs without mld here: what happens to its files has nothing to do with where its device is.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "tests/system/support/daemon.h"
#include "tests/system/support/job_files.h"
#include "tests/system/support/randomness.h"

namespace ml::test {
namespace {

namespace fs = std::filesystem;

using Environment = std::vector<std::pair<std::string, std::string>>;

constexpr int kSteps = 36;  // 3 epochs of 12: checkpoints at 7, 14, 21, 28, 35, and at the end

// One run of the job in a folder of its own.
class Training {
 public:
  Training() {
    write_pictures(folder_.path(), "pictures", 200);
    const std::string text = job_text({.epochs = 3, .checkpoint_every = 7});
    job_ = folder_.write("quarters.toml", text + "keep_checkpoint = true\n");
  }

  Finished run(const Environment& environment = {}) const {
    return run_program({{program_path("mld-job"), "--embedded", job_}, environment});
  }
  Command command() const { return {{program_path("mld-job"), "--embedded", job_}}; }
  // With the call `at` going wrong.
  Finished run_with_fault(int at, const std::string& how, bool all = false) const {
    Environment environment{{"LD_PRELOAD", ML_TEST_FAILING_FILES},
                            {"ML_FAIL_FILE", "checkpoint"},
                            {"ML_FAIL_AT", std::to_string(at)},
                            {"ML_FAIL_HOW", how},
                            {"ML_FAIL_COUNT", folder_.file("calls")}};
    if (all) environment.emplace_back("ML_FAIL_ALL", "1");
    return run(environment);
  }
  int calls() const { return std::stoi(read_file(folder_.file("calls"))); }
  std::string checkpoint() const { return folder_.file("quarters.checkpoint"); }
  std::string state() const { return read_file(checkpoint()); }
  // Names of files that have no business there any more.
  std::set<std::string> left_behind() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      const std::string name = entry.path().filename();
      if (name.ends_with(".tmp") || name.ends_with(".next")) names.insert(name);
    }
    return names;
  }

 private:
  Scratch folder_;
  std::string job_;
};

// All state at the end of a run that nothing disturbed.
const std::string& undisturbed() {
  static const std::string state = [] {
    const Training run;
    const Finished finished = run.run();
    if (!finished.ended.with(0)) throw std::runtime_error(finished.ended.describe() + "\n" + finished.err);
    return run.state();
  }();
  return state;
}

// The calls of one checkpoint: the second one, when there is one to be replaced and one to be kept.
std::pair<int, int> calls_of_the_second_checkpoint() {
  const Training whole;
  EXPECT_TRUE(whole.run_with_fault(0, "kill").ended.with(0));
  constexpr int kCheckpoints = kSteps / 7 + 1;
  const int each = (whole.calls() + kCheckpoints - 1) / kCheckpoints;
  EXPECT_GT(each, 5) << "the calls are not seen";
  return {each, 2 * each + 2};
}

TEST(CheckpointFaults, AFailingCallCostsOneCheckpointAtMost) {
  const auto [first, last] = calls_of_the_second_checkpoint();
  for (int at = first; at <= last; ++at) {
    for (const int error : {ENOSPC, EIO}) {
      SCOPED_TRACE("call " + std::to_string(at) + ", errno " + std::to_string(error));
      const Training run;
      const Finished finished = run.run_with_fault(at, std::to_string(error));
      EXPECT_TRUE(finished.ended.with(0)) << finished.ended.describe() << finished.out << finished.err;
      EXPECT_EQ(run.state() == undisturbed(), true);
      EXPECT_EQ(run.left_behind(), std::set<std::string>{});
    }
  }
}

TEST(CheckpointFaults, KilledAtAnyCallItGoesOnFromTheLastGoodOne) {
  const auto [first, last] = calls_of_the_second_checkpoint();
  for (int at = first; at <= last; ++at) {
    for (const char* const how : {"kill", "torn"}) {
      SCOPED_TRACE("call " + std::to_string(at) + ", " + how);
      const Training run;
      const Finished killed = run.run_with_fault(at, how);
      ASSERT_TRUE(killed.ended.by_signal(SIGKILL)) << killed.ended.describe();
      const Finished again = run.run();
      EXPECT_TRUE(again.ended.with(0)) << again.ended.describe() << again.out << again.err;
      EXPECT_NE(again.out.find("goes on from step"), std::string::npos) << again.out;
      EXPECT_EQ(again.out.find("may differ"), std::string::npos) << again.out;
      EXPECT_EQ(run.state() == undisturbed(), true);
      EXPECT_EQ(run.left_behind(), std::set<std::string>{});
    }
  }
}

TEST(CheckpointFaults, ADiskThatStaysFullLeavesTheLastOne) {
  const auto [first, last] = calls_of_the_second_checkpoint();
  const Training run;
  const Finished finished = run.run_with_fault(last, std::to_string(ENOSPC), true);
  EXPECT_TRUE(finished.ended.with(1)) << "the last checkpoint was asked for and can't be written: "
                                      << finished.ended.describe();
  EXPECT_NE(finished.out.find("warning: no checkpoint at step 21, the last one is of step 14"), std::string::npos)
      << finished.out;
  EXPECT_NE(finished.err.find("No space left"), std::string::npos) << finished.err;
  const Finished again = run.run();
  EXPECT_TRUE(again.ended.with(0)) << again.err;
  EXPECT_NE(again.out.find("goes on from step 14 "), std::string::npos) << again.out;
  EXPECT_EQ(run.state() == undisturbed(), true);
}

// A folder with checkpoints of steps 21 and 14: killed when the next one begins.
std::unique_ptr<Training> broken_off() {
  auto run = std::make_unique<Training>();
  const auto [first, last] = calls_of_the_second_checkpoint();
  EXPECT_TRUE(run->run_with_fault(3 * (first) + 2, "kill").ended.by_signal(SIGKILL));
  return run;
}

// Any byte but those of the device's name, which decides nothing but what is said about the bits.
std::size_t byte_that_counts(const std::string& file, std::mt19937_64& random) {
  const std::size_t begin = file.find("\"device\":"), end = file.find("\",", begin);
  EXPECT_NE(end, std::string::npos);
  for (;;) {
    const std::size_t at = random() % file.size();
    if (at < begin || at > end) return at;
  }
}

TEST(CheckpointFaults, ADamagedOneIsReplacedByTheOneBefore) {
  const std::uint64_t used = seed();
  SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(used));
  std::mt19937_64 random(used);
  const std::unique_ptr<Training> source = broken_off();
  const std::string whole = source->state();
  const std::string before = read_file(source->checkpoint() + ".previous");
  ASSERT_FALSE(whole.empty());
  ASSERT_FALSE(before.empty());
  for (int round = 0, count = rounds(12); round < count; ++round) {
    std::string damaged = whole;
    if (round % 2 == 0)
      damaged.resize(random() % whole.size());
    else
      damaged[byte_that_counts(whole, random)] ^= static_cast<char>(1 + random() % 255);
    SCOPED_TRACE("round " + std::to_string(round) + ", " + std::to_string(damaged.size()) + " bytes");
    const Training run;
    std::ofstream(run.checkpoint(), std::ios::binary) << damaged;
    std::ofstream(run.checkpoint() + ".previous", std::ios::binary) << before;
    const Finished finished = run.run();
    EXPECT_TRUE(finished.ended.with(0)) << finished.out << finished.err;
    EXPECT_NE(finished.out.find("goes on from step"), std::string::npos) << finished.out;
    EXPECT_NE(finished.out.find(".previous'"), std::string::npos) << "the damage was not seen:\n" << finished.out;
    EXPECT_EQ(run.state() == undisturbed(), true);
  }
}

TEST(CheckpointFaults, WithoutAGoodOneItSaysSoAndTouchesNothing) {
  const Training run;
  std::ofstream(run.checkpoint(), std::ios::binary) << "no checkpoint";
  const Finished finished = run.run();
  EXPECT_TRUE(finished.ended.with(1)) << finished.ended.describe();
  EXPECT_NE(finished.err.find("quarters.checkpoint"), std::string::npos) << finished.err;
  EXPECT_EQ(run.state(), "no checkpoint");
}

TEST(CheckpointFaults, ASecondProcessOfTheSameJobStaysAway) {
  const std::unique_ptr<Training> run = broken_off();
  const std::string path = run->checkpoint() + ".lock";
  const transport::UniqueFd lock(open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(lock && flock(lock.get(), LOCK_EX) == 0);
  const std::string before = run->state();
  const Finished finished = run->run();
  EXPECT_TRUE(finished.ended.with(1)) << finished.ended.describe();
  EXPECT_NE(finished.err.find("is used by another process"), std::string::npos) << finished.err;
  EXPECT_EQ(run->state() == before, true);
}

TEST(CheckpointFaults, KilledAndStoppedAtRandomMomentsItEndsTheSame) {
  const std::uint64_t used = seed();
  SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(used));
  std::mt19937_64 random(used);
  const Training run;
  int interrupted = 0;
  for (const int wanted = rounds(20); interrupted < wanted;) {
    Program program(run.command());
    // Moments are what is random here, so time is what is waited for.
    const std::optional<Ended> ended = program.process().wait(Milliseconds(60 + random() % 200));
    if (!ended) {
      program.process().signal(interrupted % 2 == 0 ? SIGKILL : SIGTERM);
      const std::optional<Ended> after = program.process().wait();
      ASSERT_TRUE(after && (after->by_signal(SIGKILL) || after->with(75) || after->with(0)))
          << after->describe() << program.err();
      ++interrupted;
    } else {
      ASSERT_TRUE(ended->with(0)) << program.err();
    }
    // It has to have something left to do: the end of one life is the beginning of the next.
    if (read_file(run.checkpoint()) != undisturbed()) continue;
    for (const char* name : {"", ".previous"}) fs::remove(run.checkpoint() + name);
  }
  const Finished last = run.run();
  EXPECT_TRUE(last.ended.with(0)) << last.err;
  EXPECT_EQ(run.state() == undisturbed(), true);
  EXPECT_EQ(run.left_behind(), std::set<std::string>{});
}

}  // namespace
}  // namespace ml::test
