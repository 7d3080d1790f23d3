// Training gives way to inference between two kernels: how fast, compared with the longest kernel, and at what cost.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "tests/system/support/daemon.h"
#include "tests/system/support/job_control.h"
#include "tests/system/support/job_files.h"
#include "tests/system/support/mlctl.h"
#include "tests/system/support/raw_session.h"
#include "tests/system/support/scratch.h"

namespace ml::test {
namespace {

struct Switches {
  std::uint64_t count, total_ns, longest_ns, longest_kernel_ns;
};
Switches switches_of(const Daemon& daemon) {
  const std::string json = mlctl_out(daemon, {"device", "show", "cpu0", "-o", "json"});
  const auto number = [&](std::string_view field) { return std::stoull("0" + json_field(json, field)); };
  return {number("switches"), number("switch_ns_total"), number("switch_ns_longest"), number("longest_kernel_ns")};
}

class Folder {
 public:
  Folder() {
    write_pictures(scratch_.path(), "pictures", 2048);
    job_ = write_job(scratch_.path(), {.epochs = 100, .batch = 256});
  }
  const std::string& job() const { return job_; }
  // What the job has written at its end.
  std::string model() const { return read_file(scratch_.file("quarters.mlmodel")); }

 private:
  const Scratch scratch_;
  std::string job_;
};

TEST(Preemption, MakesTrainingStandStillForInferenceAndChangesNoBit) {
  const Folder undisturbed, disturbed;
  Daemon daemon;
  {
    const Job job(daemon, undisturbed.job());
    ASSERT_TRUE(job.reaches("done")) << job.show() << job.log();
  }

  RawSession session(daemon.socket());
  const auto queue = session.open_queue();
  const auto arena = session.add_arena();
  const mlring_handle program = compile(*queue, *arena, add_one_graph());
  const mlring_argument in = arena->input({1, 2, 3}), out = arena->output(3);
  const mlring_descriptor infer = execute(*arena, program, {in, out});

  const Job job(daemon, disturbed.job());
  ASSERT_TRUE(job.reaches("running")) << job.show() << job.log();
  Switches last{};
  ASSERT_TRUE(eventually(
      [&] {
        // Each burst comes behind a pause in which the server withdraws its demand.
        for (int burst = 0; burst < 20; ++burst) {
          for (int i = 0; i < 50; ++i)
            if (queue->run(infer).status() != MLRING_OK) throw std::runtime_error("a request failed");
          poll(nullptr, 0, 2);
        }
        const Switches now = switches_of(daemon);
        if (now.count >= last.count) last = now;  // they go with the job's worker
        return job.state() != "running";
      },
      4 * kPatience))
      << job.show() << job.log();
  EXPECT_TRUE(job.reaches("done")) << job.show() << job.log();
  ASSERT_GE(last.count, 10u);
  std::printf("%llu switches: mean %.1f us, longest %.1f us, longest kernel %.1f us\n",
              static_cast<unsigned long long>(last.count),
              static_cast<double>(last.total_ns) / static_cast<double>(last.count) / 1000,
              static_cast<double>(last.longest_ns) / 1000, static_cast<double>(last.longest_kernel_ns) / 1000);
  EXPECT_FALSE(disturbed.model().empty());
  EXPECT_EQ(disturbed.model() == undisturbed.model(), true) << "other bits";
}

}  // namespace
}  // namespace ml::test
