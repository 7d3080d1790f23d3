// Two users on two devices: device time is shared fairly, and a job that wants both gets both or none.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>
#include <set>

#include "tests/system/support/daemon.h"
#include "tests/system/support/job_control.h"
#include "tests/system/support/job_files.h"

namespace ml::test {
namespace {

constexpr uid_t kAnna = 12001, kBert = 12002;
constexpr int kEndless = 1'000'000, kShort = 30;  // epochs

std::string two_devices(const std::string& quantum) {
  return std::string(kSystemToml) + "quantum = \"" + quantum +
         "\"\n[[device]]\nname = \"cpu0\"\ncpus = \"0\"\n[[device]]\nname = \"cpu1\"\ncpus = \"1\"\n";
}

std::uint64_t realtime_seconds() { return static_cast<std::uint64_t>(std::time(nullptr)); }

// A user with a folder of their own and jobs in it.
class Owner {
 public:
  Owner(const Daemon& daemon, uid_t uid) : daemon_(daemon), user_{uid, static_cast<gid_t>(uid)} {
    if (chown(folder_.path().c_str(), uid, uid) != 0) throw std::runtime_error("chown");
    write_pictures(folder_.path(), "pictures", 256);
  }
  const Job& submit(int devices, int epochs) {
    const std::string name = "job" + std::to_string(jobs_.size());
    std::string text = job_text({.name = name, .epochs = epochs, .checkpoint_every = 200});
    const std::string one = "devices = 1";
    text.replace(text.find(one), one.size(), "devices = " + std::to_string(devices));
    const std::string path = folder_.write(name + ".toml", text);
    return *jobs_.emplace_back(std::make_unique<Job>(daemon_, path, user_));
  }
  double device_seconds() const {
    double sum = 0;
    for (const auto& job : jobs_) sum += static_cast<double>(job->number("device_ns")) * 1e-9;
    return sum;
  }
  std::string why(const Job& job) const { return mlctl_out(daemon_, {"job", "why", job.id()}, user_); }
  void cancel(const Job& job) const { mlctl_out(daemon_, {"job", "cancel", job.id()}, user_); }

 private:
  const Daemon& daemon_;
  User user_;
  Scratch folder_{true};
  std::vector<std::unique_ptr<Job>> jobs_;
};

// The devices in show(): how many it has right now.
std::size_t devices_held(const Job& job) {
  const std::string json = job.show();
  std::size_t held = 0;
  const std::size_t begin = json.find("\"on\""), end = json.find(']', begin);
  if (begin == json.npos || end == json.npos) return 0;
  const std::string on = json.substr(begin + 4, end - begin - 4);
  for (const char* name : {"\"cpu0\"", "\"cpu1\""}) held += on.find(name) != on.npos ? 1 : 0;
  return held;
}

struct Load {
  const char* name;
  std::vector<int> anna, bert;  // devices of each job
};
class FairShare : public testing::TestWithParam<Load> {};

TEST_P(FairShare, IsWithinATenthInThirtySeconds) {
  const Load& load = GetParam();
  Daemon daemon({.toml = two_devices("2s"), .system = true});
  Owner anna(daemon, kAnna), bert(daemon, kBert);
  for (std::size_t i = 0; i < std::max(load.anna.size(), load.bert.size()); ++i) {
    if (i < load.anna.size()) anna.submit(load.anna[i], kEndless);
    if (i < load.bert.size()) bert.submit(load.bert[i], kEndless);
  }
  constexpr double kSeconds = 30;
  const std::uint64_t began = realtime_seconds();
  ASSERT_TRUE(eventually([&] { return realtime_seconds() >= began + kSeconds; }, Milliseconds(60'000)));
  const double a = anna.device_seconds(), b = bert.device_seconds();
  EXPECT_NEAR(a / (a + b), 0.5, 0.05) << load.name << ": anna " << a << " s, bert " << b << " s";
  EXPECT_GT(a + b, 0.75 * 2 * kSeconds) << "devices stood idle";
  std::printf("%s: anna %.1f s, bert %.1f s of device time\n", load.name, a, b);
}
INSTANTIATE_TEST_SUITE_P(Loads, FairShare,
                         testing::Values(Load{"ManyJobsAgainstTwo", {1, 1, 1, 1}, {1, 1}},
                                         Load{"AGangAgainstSingles", {2}, {1, 1}}),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(Gang, GetsBothDevicesTogetherOrNone) {
  Daemon daemon({.toml = two_devices("1s"), .system = true});
  Owner anna(daemon, kAnna), bert(daemon, kBert);
  const Job& single = bert.submit(1, kEndless);
  ASSERT_TRUE(single.reaches("running"));
  const Job& gang = anna.submit(2, kShort);
  std::set<std::size_t> seen;
  std::set<std::string> reasons;
  EXPECT_TRUE(eventually([&] {
    seen.insert(devices_held(gang));
    const std::string state = gang.state();
    if (state == "queued") reasons.insert(anna.why(gang));
    return state == "done" || state == "failed";
  })) << gang.show();
  EXPECT_EQ(gang.state(), "done") << gang.log();
  EXPECT_EQ(seen.count(1), 0u) << "it had half of what it needs";
  EXPECT_EQ(seen.count(2), 1u) << "never seen with both";
  // It may start between the look at its state and the question: then the answer says where it runs.
  EXPECT_TRUE(std::ranges::any_of(reasons, [](const std::string& reason) {
    return reason.find("waits for 2 of 2 cpu devices: ") != std::string::npos;
  })) << (reasons.empty() ? "nobody was told why it waits" : *reasons.begin());
  EXPECT_TRUE(single.reaches("running")) << "it goes on behind the gang: " << single.show();
  EXPECT_EQ(single.number("preemptions"), 1u);
  bert.cancel(single);
  EXPECT_TRUE(single.reaches("cancelled"));
}

TEST(Gang, TwoOfThemNeverWaitForEachOther) {
  Daemon daemon({.toml = two_devices("1s"), .system = true});
  Owner anna(daemon, kAnna), bert(daemon, kBert);
  std::vector<const Job*> jobs;
  for (int round = 0; round < 3; ++round) {
    jobs.push_back(&anna.submit(2, kShort));
    jobs.push_back(&bert.submit(2, kShort));
    jobs.push_back(&anna.submit(1, kShort));
    jobs.push_back(&bert.submit(1, kShort));
  }
  for (const Job* job : jobs) EXPECT_TRUE(job->reaches("done")) << job->show() << job->log();
}

TEST(Gang, ThatNoMachineCouldHoldIsRefused) {
  Daemon daemon({.toml = two_devices("1s"), .system = true});
  Owner anna(daemon, kAnna);
  try {
    anna.submit(3, kShort);
    FAIL() << "there are two devices";
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("needs 3 cpu devices, and there are 2"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace ml::test
