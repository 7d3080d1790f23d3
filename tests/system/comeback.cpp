// mld dies, is stopped, is started again: clients and jobs come back by themselves.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <csignal>
#include <new>

#include "ml/ops.h"
#include "ml/session.h"
#include "ml/tensor.h"
#include "tests/system/support/daemon.h"
#include "tests/system/support/job_control.h"
#include "tests/system/support/job_files.h"

namespace ml::test {
namespace {

// What a computing client reports to the test, in memory that both see.
struct Counts {
  std::atomic<std::uint64_t> right{0}, wrong{0}, lost{0};
  std::atomic<bool> stop{false};
};
class SharedCounts {
 public:
  SharedCounts() : memory_(mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    new (memory_) Counts;
  }
  ~SharedCounts() { munmap(memory_, sizeof(Counts)); }
  SharedCounts(const SharedCounts&) = delete;
  SharedCounts& operator=(const SharedCounts&) = delete;
  Counts* operator->() const { return static_cast<Counts*>(memory_); }

 private:
  void* memory_;
};

// An application that computes until it is told to stop and takes errors as they come: it never connects again itself.
std::string compute_until_told(const std::string& transport, const SharedCounts& counts) {
  connect({.transport = transport});
  std::string unexpected;
  for (float x = 0; !counts->stop; x += 1) {
    try {
      const float y = (full({3}, x) + 1).sum().item<float>();
      ++(y == 3 * (x + 1) ? counts->right : counts->wrong);
    } catch (const Error& error) {
      if (error.code() != Code::device_lost) return error.what();
      ++counts->lost;
    }
  }
  return "stopped";
}

TEST(Comeback, AClientComputesAgainBehindARestartOfAKilledMld) {
  Daemon daemon;
  const SharedCounts counts;
  Forked client({}, [&] { return compute_until_told(daemon.transport(), counts); });
  for (int i = 0; i < 3; ++i) {
    const auto computes = [&, before = counts->right.load()] { return counts->right > before + 10; };
    ASSERT_TRUE(eventually(computes)) << "restart " << i;
    daemon.kill();
    daemon.start();
  }
  const auto before = counts->right.load();
  EXPECT_TRUE(eventually([&] { return counts->right > before + 10; }));
  counts->stop = true;
  EXPECT_EQ(client.answer(), "stopped");
  EXPECT_EQ(counts->wrong, 0u);
}

TEST(Comeback, AJobGoesOnFromItsCheckpointWhenMldWasKilled) {
  const Scratch folder;
  write_pictures(folder.path(), "pictures", 512);
  Daemon daemon;
  const Job job(daemon, write_job(folder.path(), {.epochs = 100, .checkpoint_every = 7}));
  ASSERT_TRUE(eventually([&] { return job.number("checkpoint_step") >= 14; })) << job.show() << job.log();
  const std::uint64_t reached = job.number("checkpoint_step");
  daemon.kill();
  daemon.start();
  EXPECT_TRUE(job.reaches("done")) << job.show() << job.log();
  EXPECT_GE(job.number("starts"), 2u);
  EXPECT_EQ(job.number("step"), 100u * 32);
  EXPECT_GE(job.number("checkpoint_step"), reached);
}

TEST(Comeback, SigtermLetsAJobWriteItsCheckpointAndItGoesOnAfterwards) {
  const Scratch folder;
  write_pictures(folder.path(), "pictures", 512);
  Daemon daemon;
  // It would not write one by itself: an epoch is 512 steps and more than it gets here.
  const Job job(daemon, write_job(folder.path(), {.epochs = 20, .batch = 1, .checkpoint_every = 1'000'000}));
  ASSERT_TRUE(eventually([&] { return job.number("step") > 0; })) << job.show() << job.log();
  const Ended ended = daemon.terminate();
  EXPECT_TRUE(ended.with(0)) << ended.describe();
  daemon.start();
  EXPECT_GT(job.number("checkpoint_step"), 0u) << job.show() << job.log();
  EXPECT_TRUE(job.reaches("done")) << job.show() << job.log();
  EXPECT_EQ(job.number("failures"), 0u);
  EXPECT_EQ(job.number("step"), 20u * 512);
}

TEST(Comeback, AQueuedJobIsStillThereAfterAKill) {
  const Scratch folder;
  write_pictures(folder.path(), "pictures", 64);
  Daemon daemon;
  mlctl_out(daemon, {"device", "drain", "cpu0"});
  const Job job(daemon, write_job(folder.path(), {}));
  daemon.kill();
  daemon.start();
  EXPECT_EQ(job.state(), "queued") << job.show();
  mlctl_out(daemon, {"device", "drain", "cpu0", "--undo"});  // drained, too, as it was
  EXPECT_TRUE(job.reaches("done")) << job.show() << job.log();
}

}  // namespace
}  // namespace ml::test
