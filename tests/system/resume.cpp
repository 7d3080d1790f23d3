// A job is killed again and again, with mld, its worker or its process, and ends with the same bits as one that was
// left alone: Adam, dropout, batch norm, shuffling, the default number of threads, a checkpoint every 7 steps.
#include <gtest/gtest.h>

#include <csignal>
#include <functional>
#include <random>

#include "tests/system/support/daemon.h"
#include "tests/system/support/job_control.h"
#include "tests/system/support/job_files.h"
#include "tests/system/support/randomness.h"

namespace ml::test {
namespace {

constexpr int kKills = 20;

// A folder with data and a job in it.
class Folder {
 public:
  Folder() {
    write_pictures(scratch_.path(), "pictures", 520);  // batches of 16 leave 8: epochs end within a batch
    job_ =
        scratch_.write("quarters.toml", job_text({.epochs = 240, .checkpoint_every = 7}) + "keep_checkpoint = true\n");
  }
  const std::string& job() const { return job_; }
  // All state at the end: parameters, buffers, optimizer, random numbers, position.
  std::string state() const { return read_file(scratch_.file("quarters.checkpoint")); }
  std::string model() const { return read_file(scratch_.file("quarters.mlmodel")); }

 private:
  Scratch scratch_;
  std::string job_;
};

struct Result {
  std::string state, model;
};
const Result& undisturbed() {
  static const Result result = [] {
    const Folder folder;
    const Daemon daemon;
    const Job job(daemon, folder.job());
    if (!job.reaches("done")) throw std::runtime_error(job.show() + job.log());
    return Result{folder.state(), folder.model()};
  }();
  return result;
}

// The process of that name that is a child of mld and not `but`.
pid_t child_of(Daemon& daemon, const std::string& name, pid_t but = 0) {
  for (const ProcessEntry& child : daemon.children()) {
    if (child.name == name && child.pid != but) return child.pid;
  }
  return 0;
}

class Resume : public testing::Test {
 protected:
  Resume() { undisturbed(); }

  // `strike` kills something; false: there is nothing to kill at the moment.
  void check(const std::function<bool()>& strike) {
    const std::uint64_t used = seed();
    SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(used));
    std::mt19937_64 random(used);
    const Job job(daemon, folder.job());
    std::uint64_t reached = 0;
    for (int kill = 0, count = rounds(kKills); kill < count; ++kill) {
      ASSERT_TRUE(eventually([&] { return job.number("checkpoint_step") > reached || job.state() == "done"; }))
          << "kill " << kill << "\n"
          << job.show() << job.log();
      reached = job.number("checkpoint_step");
      // Anywhere in the next few checkpoints and the steps between them.
      const Deadline moment(Milliseconds(random() % 60));
      while (!moment.passed()) poll(nullptr, 0, 1);
      ASSERT_NE(job.state(), "done") << "it was over after " << kill << " kills; give it more epochs";
      ASSERT_TRUE(eventually(strike)) << "there is nothing to kill\n" << job.show();
    }
    EXPECT_TRUE(job.reaches("done")) << job.show() << job.log();
    EXPECT_GT(job.number("starts"), static_cast<std::uint64_t>(rounds(kKills)) / 2) << job.log();
    EXPECT_EQ(job.log().find("may differ"), std::string::npos) << job.log();
    EXPECT_EQ(folder.state() == undisturbed().state, true) << "other bits";
    EXPECT_EQ(folder.model() == undisturbed().model, true) << "other bits";
    EXPECT_FALSE(folder.state().empty());
  }
  static bool kill_if(pid_t pid) { return pid != 0 && ::kill(pid, SIGKILL) == 0; }

  const Folder folder;
  Daemon daemon;
};

TEST_F(Resume, TheProcessOfTheJobIsKilled) {
  check([&] { return kill_if(child_of(daemon, "mld-job")); });
}

TEST_F(Resume, TheWorkerOfTheJobIsKilled) {
  ASSERT_TRUE(eventually([&] { return daemon.workers().size() == 1; }));
  const pid_t serving = daemon.workers()[0];
  check([&] { return kill_if(child_of(daemon, "mld-worker", serving)); });
  ASSERT_TRUE(eventually([&] { return daemon.workers().size() == 1; })) << "the job's worker goes with it";
  EXPECT_EQ(daemon.workers()[0], serving);
}

TEST_F(Resume, MldIsKilled) {
  check([&] {
    daemon.kill();
    daemon.start();
    return true;
  });
}

}  // namespace
}  // namespace ml::test
