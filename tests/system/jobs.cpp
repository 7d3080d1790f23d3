// What can happen to a job: paused, cancelled, moved, too late, dying again and again, too large, too talkative.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "tests/system/support/daemon.h"
#include "tests/system/support/job_control.h"
#include "tests/system/support/job_files.h"

namespace ml::test {
namespace {

constexpr int kEndless = 1'000'000, kShort = 5;  // epochs

class Jobs : public testing::Test {
 protected:
  Jobs() { write_pictures(folder.path(), "pictures", 256); }

  Job submit(const JobFile& file) { return {*daemon, write_job(folder.path(), file)}; }
  void start(const std::string& toml = {}) { daemon = std::make_unique<Daemon>(DaemonOptions{.toml = toml}); }
  std::string ctl(const std::string& command, const Job& job) { return mlctl_out(*daemon, {"job", command, job.id()}); }
  bool writes_checkpoint(const Job& job, std::uint64_t behind = 0) const {
    return eventually([&] { return job.number("checkpoint_step") > behind; });
  }
  std::vector<pid_t> processes_of_jobs() {
    std::vector<pid_t> pids;
    for (const ProcessEntry& child : daemon->children()) {
      if (child.name == "mld-job") pids.push_back(child.pid);
    }
    return pids;
  }

  const Scratch folder;
  std::unique_ptr<Daemon> daemon;
};

TEST_F(Jobs, APausedOneGoesOnWhereItWas) {
  start();
  const Job job = submit({.epochs = kEndless, .checkpoint_every = 50});
  ASSERT_TRUE(writes_checkpoint(job));
  ctl("pause", job);
  ASSERT_TRUE(job.reaches("paused")) << job.show() << job.log();
  EXPECT_TRUE(processes_of_jobs().empty());
  EXPECT_TRUE(eventually([&] { return daemon->workers().size() == 1; })) << "its worker goes with it";
  const std::uint64_t step = job.number("checkpoint_step");
  EXPECT_EQ(step, job.number("step")) << "nothing is lost";
  EXPECT_NE(ctl("why", job).find("is paused"), std::string::npos);
  ctl("resume", job);
  ASSERT_TRUE(writes_checkpoint(job, step)) << job.show();
  EXPECT_NE(job.log().find("goes on from step " + std::to_string(step) + " "), std::string::npos) << job.log();
  EXPECT_EQ(job.number("failures"), 0u);
}

TEST_F(Jobs, ACancelledOneLeavesItsCheckpointAndNothingElse) {
  start();
  const Job job = submit({.epochs = kEndless, .checkpoint_every = 50});
  ASSERT_TRUE(writes_checkpoint(job));
  ctl("cancel", job);
  ASSERT_TRUE(job.reaches("cancelled")) << job.show();
  EXPECT_TRUE(processes_of_jobs().empty());
  EXPECT_TRUE(std::filesystem::exists(folder.file("quarters.checkpoint")));
  EXPECT_FALSE(mlctl(*daemon, {"job", "cancel", job.id()}).ended.with(0)) << "it has ended";
  const Job again = submit({.epochs = kShort, .checkpoint_every = 50});
  EXPECT_TRUE(again.reaches("done")) << again.log();
  EXPECT_NE(again.log().find("goes on from step"), std::string::npos) << "the same file continues it: " << again.log();
}

TEST_F(Jobs, AQueuedOneIsCancelledAtOnce) {
  start();
  const Job first = submit({.epochs = kEndless}), second = submit({.name = "second", .epochs = kEndless});
  ASSERT_TRUE(first.reaches("running"));
  EXPECT_NE(ctl("why", second).find("cpu0 is busy with job " + first.id() + " of"), std::string::npos)
      << ctl("why", second);
  ctl("cancel", second);
  EXPECT_EQ(second.state(), "cancelled");
}

TEST_F(Jobs, OneThatDiesAgainAndAgainWithoutACheckpointFails) {
  start();
  const Job job = submit({.epochs = kEndless, .checkpoint_every = 1'000'000'000});
  pid_t last = 0;
  for (int i = 0; i < 5; ++i) {
    const pid_t before = last;
    ASSERT_TRUE(eventually([&] {
      const std::vector<pid_t> now = processes_of_jobs();
      if (!now.empty()) last = now[0];
      return last != before;
    })) << job.show()
        << job.log();
    ASSERT_EQ(kill(last, SIGKILL), 0);
  }
  EXPECT_TRUE(job.reaches("failed")) << job.show();
  EXPECT_EQ(json_field(job.show(), "reason"),
            "it ended 5 times in a row without a new checkpoint, the last time because mld-job was killed by signal 9 "
            "(Killed)");
  EXPECT_EQ(job.number("starts"), 5u);
}

TEST_F(Jobs, OneThatHasNotStartedByItsDeadlineFails) {
  start();
  const Job first = submit({.epochs = kEndless});
  ASSERT_TRUE(first.reaches("running"));
  const Job late = submit({.name = "late", .epochs = kShort, .more_job = "deadline = \"1s\"\n"});
  EXPECT_TRUE(late.reaches("failed")) << late.show();
  const std::string reason = json_field(late.show(), "reason");
  EXPECT_NE(reason.find("its deadline passed before it could start"), std::string::npos) << reason;
  EXPECT_NE(reason.find("cpu0 is busy with job " + first.id()), std::string::npos) << reason;
}

TEST_F(Jobs, OneLeavesADrainedDevice) {
  start("[[device]]\nname = \"cpu0\"\n[[device]]\nname = \"cpu1\"\n");
  const Job job = submit({.epochs = kEndless, .checkpoint_every = 50});
  ASSERT_TRUE(writes_checkpoint(job));
  const std::string from = job.show().find("\"cpu0\"") != std::string::npos ? "cpu0" : "cpu1";
  mlctl_out(*daemon, {"device", "drain", from});
  EXPECT_TRUE(eventually([&] { return job.number("starts") == 2 && job.state() == "running"; })) << job.show();
  EXPECT_NE(job.show().find(from == "cpu0" ? "\"cpu1\"" : "\"cpu0\""), std::string::npos) << job.show();
  EXPECT_EQ(job.number("failures"), 0u);
}

TEST_F(Jobs, WhenMldIsStoppedTheyWriteTheirCheckpointFirst) {
  start();
  const Job job = submit({.epochs = kEndless, .checkpoint_every = 1'000'000'000});
  ASSERT_TRUE(eventually([&] { return job.number("step") > 20; })) << job.show() << job.log();
  EXPECT_TRUE(daemon->terminate().with(0));
  EXPECT_TRUE(std::filesystem::exists(folder.file("quarters.checkpoint")));
  daemon->start();
  EXPECT_TRUE(eventually([&] { return job.log().find("goes on from step") != std::string::npos; })) << job.log();
  EXPECT_EQ(job.number("failures"), 0u);
}

TEST_F(Jobs, OneThatDoesNotListenIsEndedByForceWhenMldIsStopped) {
  start("drain = \"1s\"\n");
  const Job job = submit({.epochs = kEndless, .checkpoint_every = 50});
  ASSERT_TRUE(writes_checkpoint(job));
  for (const pid_t pid : processes_of_jobs()) ASSERT_EQ(kill(pid, SIGSTOP), 0);
  EXPECT_TRUE(daemon->terminate().with(0));
  daemon->start();
  EXPECT_TRUE(eventually([&] { return job.log().find("goes on from step") != std::string::npos; })) << job.log();
}

TEST_F(Jobs, ASecondSignalEndsMldAtOnce) {
  start();
  const Job job = submit({.epochs = kEndless, .checkpoint_every = 50});
  ASSERT_TRUE(writes_checkpoint(job));
  for (const pid_t pid : processes_of_jobs()) ASSERT_EQ(kill(pid, SIGSTOP), 0);
  daemon->signal(SIGTERM);
  ASSERT_TRUE(daemon->notified("STOPPING=1"));
  daemon->signal(SIGTERM);
  const auto ended = daemon->wait();
  ASSERT_TRUE(ended && ended->with(0)) << (ended ? ended->describe() : "it runs still");
  daemon->start();
  EXPECT_TRUE(eventually([&] { return job.log().find("goes on from step") != std::string::npos; })) << job.log();
}

TEST_F(Jobs, OneThatNeedsMoreMemoryThanThereIsIsRefusedWithTheNumbers) {
  start("[[device]]\nname = \"cpu0\"\nmemory = \"1MiB\"\n");
  const Finished finished = mlctl(*daemon, {"job", "submit", write_job(folder.path(), {.batch = 256})});
  EXPECT_FALSE(finished.ended.with(0));
  EXPECT_NE(finished.err.find("and 0 of 1 have that much (the largest has 1 MiB)"), std::string::npos) << finished.err;
  EXPECT_NE(finished.err.find("needs 1 cpu device with "), std::string::npos) << finished.err;
}

TEST_F(Jobs, OneThatSaysMuchKeepsTheEndOfIt) {
  start("job_log_bytes = \"4KiB\"\n");
  const Job job = submit({.epochs = 300});
  ASSERT_TRUE(job.reaches("done")) << job.show();
  const std::string log = job.log();
  EXPECT_LT(log.size(), 5000u);
  EXPECT_GT(log.size(), 1500u);
  EXPECT_TRUE(log.starts_with("epoch ") || log.starts_with("["))
      << "it begins with a whole line: " << log.substr(0, 80);
  EXPECT_NE(log.find("epoch 300/300"), std::string::npos);
  EXPECT_EQ(log.find("epoch 1/300"), std::string::npos);
  EXPECT_TRUE(log.ends_with("mld] done\n")) << log.substr(log.size() - 80);
}

TEST_F(Jobs, AKilledWorkerCostsOnlyTheStepsBehindTheCheckpoint) {
  start();
  const pid_t serving = daemon->workers().at(0);
  const Job job = submit({.epochs = kEndless, .checkpoint_every = 50});
  ASSERT_TRUE(writes_checkpoint(job));
  for (const pid_t worker : daemon->workers()) {
    if (worker == serving) continue;
    EXPECT_EQ(kill(worker, SIGKILL), 0);
  }
  ASSERT_TRUE(eventually([&] { return job.number("starts") == 2; })) << job.show();
  ASSERT_TRUE(writes_checkpoint(job, job.number("checkpoint_step"))) << job.show();
  EXPECT_NE(job.log().find("the worker ended: killed by signal 9"), std::string::npos) << job.log();
  EXPECT_EQ(job.number("failures"), 1u);
}

}  // namespace
}  // namespace ml::test
