// Each rule of the scheduler, alone.
#include <gtest/gtest.h>

#include "tests/unit/daemon_scheduler/machine.h"

namespace ml::daemon {
namespace {

using namespace test;

constexpr std::uint64_t kLong = 3600 * kSecond;
constexpr std::uint32_t kAnn = 1, kBob = 2, kCat = 3;
constexpr std::uint64_t kGiB = 1ull << 30;

using Starts = std::vector<Decision::Start>;
using Ids = std::vector<std::uint64_t>;

class Scheduler : public testing::Test {
 protected:
  Scheduler() {
    machine.user(kAnn, "ann");
    machine.user(kBob, "bob");
    machine.user(kCat, "cat");
    machine.input.now = 1000 * kSecond;
  }
  void devices(int count) {
    for (int i = 0; i < count; ++i) machine.device("cpu" + std::to_string(i));
  }
  // A job that has run for `seconds` on `names`.
  std::uint64_t running(std::uint32_t uid, const std::vector<std::string>& names, std::uint64_t seconds) {
    ScheduledJob& job = machine.submit(uid, static_cast<std::uint32_t>(names.size()), kLong);
    job.running = job.started = true;
    job.running_since = machine.input.now - seconds * kSecond;
    job.submitted_at = job.running_since;
    for (const std::string& name : names) device(name).job = job.id;
    return job.id;
  }
  std::uint64_t queued(std::uint32_t uid, std::uint32_t count = 1) { return machine.submit(uid, count, kLong).id; }
  void usage(std::uint32_t uid, double seconds) {
    std::ranges::find(machine.input.users, uid, &ScheduledUser::uid)->usage = seconds;
  }
  void weight(std::uint32_t uid, double value) {
    std::ranges::find(machine.input.users, uid, &ScheduledUser::uid)->weight = value;
  }
  ScheduledDevice& device(const std::string& name) {
    return *std::ranges::find(machine.input.devices, name, &ScheduledDevice::name);
  }
  Decision decide() { return schedule(machine.input); }
  std::string why(std::uint64_t job) {
    for (const Decision::Reason& reason : decide().waiting) {
      if (reason.job == job) return reason.text;
    }
    return "does not wait";
  }

  Machine machine{30 * kSecond};
};

TEST_F(Scheduler, DoesNothingWithoutJobs) {
  devices(1);
  EXPECT_EQ(decide(), Decision{});
}

TEST_F(Scheduler, StartsAJobOnAFreeDevice) {
  devices(1);
  const std::uint64_t job = queued(kAnn);
  EXPECT_EQ(decide().start, (Starts{{job, {"cpu0"}}}));
}

TEST_F(Scheduler, StartsTheUserWithTheLeastUsage) {
  devices(1);
  queued(kAnn);
  const std::uint64_t bobs = queued(kBob);
  usage(kAnn, 10);
  usage(kBob, 9);
  EXPECT_EQ(decide().start, (Starts{{bobs, {"cpu0"}}}));
}

TEST_F(Scheduler, CountsUsagePerWeight) {
  devices(1);
  const std::uint64_t anns = queued(kAnn);
  queued(kBob);
  usage(kAnn, 17);
  weight(kAnn, 2);
  usage(kBob, 9);
  EXPECT_EQ(decide().start, (Starts{{anns, {"cpu0"}}}));
}

TEST_F(Scheduler, GivesEveryUserADeviceBeforeASecondOne) {
  devices(2);
  const std::uint64_t anns = queued(kAnn);
  queued(kAnn);
  const std::uint64_t bobs = queued(kBob);
  EXPECT_EQ(decide().start, (Starts{{anns, {"cpu0"}}, {bobs, {"cpu1"}}}));
}

TEST_F(Scheduler, OrdersAUsersJobsByPriorityDeadlineAndAge) {
  struct Case {
    const char* what;
    std::int32_t priority;
    std::uint64_t deadline, submitted_at;
    bool second_first;
  };
  const std::uint64_t now = machine.input.now;
  const Case cases[] = {
      {"the same: the lower id", 0, 0, now, false},
      {"higher priority", 1, 0, now, true},
      {"lower priority, but a deadline", -1, now + kSecond, now - kSecond, false},
      {"a deadline before none", 0, now + kSecond, now, true},
      {"older", 0, 0, now - 1, true},
      {"younger", 0, 0, now + 1, false},
  };
  devices(1);
  for (const Case& c : cases) {
    const std::uint64_t first = queued(kAnn);
    ScheduledJob& second = machine.submit(kAnn, 1, kLong);
    second.priority = c.priority;
    second.deadline = c.deadline;
    second.submitted_at = c.submitted_at;
    const std::uint64_t expected = c.second_first ? second.id : first;
    EXPECT_EQ(decide().start, (Starts{{expected, {"cpu0"}}})) << c.what;
    machine.input.jobs.clear();
  }
}

TEST_F(Scheduler, PriorityCountsWithinAUserOnly) {
  devices(1);
  machine.submit(kAnn, 1, kLong).priority = 100;
  const std::uint64_t bobs = queued(kBob);
  usage(kAnn, 1);
  EXPECT_EQ(decide().start, (Starts{{bobs, {"cpu0"}}}));
}

TEST_F(Scheduler, TheEarlierDeadlineGoesFirst) {
  devices(1);
  machine.submit(kAnn, 1, kLong).deadline = machine.input.now + 2 * kSecond;
  ScheduledJob& urgent = machine.submit(kAnn, 1, kLong);
  urgent.deadline = machine.input.now + kSecond;
  EXPECT_EQ(decide().start.at(0).job, urgent.id);
}

TEST_F(Scheduler, ExpiresAJobThatHasNotStartedByItsDeadline) {
  devices(1);
  ScheduledJob& late = machine.submit(kAnn, 1, kLong);
  late.deadline = machine.input.now;
  EXPECT_EQ(decide().expire, Ids{late.id});
  EXPECT_TRUE(decide().start.empty());
}

TEST_F(Scheduler, DoesNotExpireAJobThatHasRunBefore) {
  devices(1);
  ScheduledJob& requeued = machine.submit(kAnn, 1, kLong);
  requeued.deadline = machine.input.now - kSecond;
  requeued.started = true;
  EXPECT_TRUE(decide().expire.empty());
  EXPECT_EQ(decide().start.at(0).job, requeued.id);
}

TEST_F(Scheduler, LooksAgainAtTheDeadline) {
  devices(1);
  running(kAnn, {"cpu0"}, 0);
  ScheduledJob& job = machine.submit(kAnn, 1, kLong);
  job.deadline = machine.input.now + 7 * kSecond;
  EXPECT_EQ(decide().look_again_at, machine.input.now + 7 * kSecond);
}

TEST_F(Scheduler, KeepsBackendsApart) {
  machine.device("cpu0");
  machine.device("reference0", "reference");
  ScheduledJob& job = machine.submit(kAnn, 1, kLong);
  job.backend = "reference";
  EXPECT_EQ(decide().start, (Starts{{job.id, {"reference0"}}}));
}

TEST_F(Scheduler, TakesTheSmallestDeviceThatWillDo) {
  machine.device("large", "cpu", 8 * kGiB);
  machine.device("small", "cpu", kGiB);
  machine.device("middle", "cpu", 4 * kGiB);
  ScheduledJob& job = machine.submit(kAnn, 1, kLong);
  job.memory_bytes = 2 * kGiB;
  EXPECT_EQ(decide().start, (Starts{{job.id, {"middle"}}}));
}

TEST_F(Scheduler, WaitsForMemoryThatServingTook) {
  devices(1);
  device("cpu0").memory_bytes = kGiB / 2;
  ScheduledJob& job = machine.submit(kAnn, 1, kLong);
  job.memory_bytes = kGiB;
  EXPECT_TRUE(decide().start.empty());
  EXPECT_EQ(why(job.id), "waits for 1 of 1 cpu device: cpu0 has 512 MiB for a job that needs 1 GiB");
}

TEST_F(Scheduler, SaysWhatCouldNeverFit) {
  machine.device("cpu0", "cpu", kGiB);
  machine.device("cpu1", "cpu", 3 * kGiB);
  ScheduledJob job;
  job.backend = "cpu";
  job.devices = 3;
  EXPECT_EQ(never_fits(job, machine.input.devices), "needs 3 cpu devices, and there are 2");
  job.devices = 2;
  job.memory_bytes = 2 * kGiB;
  EXPECT_EQ(never_fits(job, machine.input.devices),
            "needs 2 cpu devices with 2 GiB each, and 1 of 2 has that much (the largest has 3 GiB)");
  job.devices = 1;
  EXPECT_EQ(never_fits(job, machine.input.devices), std::nullopt);
  job.backend = "reference";
  EXPECT_EQ(never_fits(job, machine.input.devices), "needs 1 reference device, and there are 0");
}

TEST_F(Scheduler, AJobThatNoLongerFitsHoldsUpNobody) {
  devices(1);
  machine.submit(kAnn, 2, kLong);
  const std::uint64_t fits = queued(kBob);
  EXPECT_EQ(decide().start, (Starts{{fits, {"cpu0"}}}));
  EXPECT_EQ(why(1), "can't start: it needs 2 cpu devices, and there is 1");
}

TEST_F(Scheduler, StartsNothingOnADrainingDevice) {
  devices(1);
  device("cpu0").draining = true;
  const std::uint64_t job = queued(kAnn);
  EXPECT_TRUE(decide().start.empty());
  EXPECT_EQ(why(job), "waits for 1 of 1 cpu device: cpu0 is draining");
}

TEST_F(Scheduler, AJobLeavesADrainingDeviceWhateverItsQuantum) {
  devices(1);
  device("cpu0").draining = true;
  const std::uint64_t job = running(kAnn, {"cpu0"}, 1);
  EXPECT_EQ(decide().stop, Ids{job});
  machine.find(job)->stopping = true;
  EXPECT_TRUE(decide().stop.empty()) << "it is asked once";
}

TEST_F(Scheduler, AGangThatADrainingDeviceHoldsUpKeepsNothing) {
  devices(2);
  device("cpu1").draining = true;
  queued(kAnn, 2);
  const std::uint64_t single = queued(kBob);
  EXPECT_EQ(decide().start, (Starts{{single, {"cpu0"}}}));
}

TEST_F(Scheduler, AJobKeepsItsDeviceForAQuantum) {
  devices(1);
  const std::uint64_t anns = running(kAnn, {"cpu0"}, 29);
  usage(kAnn, 29);
  queued(kBob);
  EXPECT_TRUE(decide().stop.empty());
  EXPECT_EQ(decide().look_again_at, machine.input.now + kSecond);
  machine.input.now += kSecond;
  usage(kAnn, 30);
  EXPECT_EQ(decide().stop, Ids{anns});
}

TEST_F(Scheduler, AJobRunsOnWhenNobodyWaits) {
  devices(1);
  running(kAnn, {"cpu0"}, 1000);
  EXPECT_EQ(decide(), Decision{});
}

TEST_F(Scheduler, AJobRunsOnWhileItsUserIsBehind) {
  devices(1);
  running(kAnn, {"cpu0"}, 100);
  usage(kAnn, 100);
  usage(kBob, 101);
  queued(kBob);
  EXPECT_TRUE(decide().stop.empty());
}

TEST_F(Scheduler, AUsersOwnJobsFollowEachOther) {
  devices(1);
  running(kAnn, {"cpu0"}, 1000);
  queued(kAnn);
  EXPECT_TRUE(decide().stop.empty());
}

TEST_F(Scheduler, AUsersMoreImportantJobTakesTheDeviceAfterTheQuantum) {
  devices(1);
  const std::uint64_t job = running(kAnn, {"cpu0"}, 31);
  machine.submit(kAnn, 1, kLong).priority = 1;
  EXPECT_EQ(decide().stop, Ids{job});
  machine.find(job)->running_since = machine.input.now;
  EXPECT_TRUE(decide().stop.empty());
}

TEST_F(Scheduler, ADeadlineTakesTheDeviceFromAJobThatHasMetItsOwn) {
  devices(1);
  const std::uint64_t job = running(kAnn, {"cpu0"}, 31);
  machine.submit(kAnn, 1, kLong).deadline = machine.input.now + kLong;
  EXPECT_EQ(decide().stop, Ids{job});
}

TEST_F(Scheduler, EquallyTreatedUsersDoNotTakeEachOthersDevices) {
  devices(2);
  running(kAnn, {"cpu0"}, 100);
  running(kBob, {"cpu1"}, 100);
  usage(kAnn, 99);
  usage(kBob, 100);
  queued(kAnn);
  queued(kBob);
  EXPECT_TRUE(decide().stop.empty()) << "ann is a second behind: no reason for her to have both";
}

TEST_F(Scheduler, TakesOneOfTwoDevicesFromWhoHasBoth) {
  devices(2);
  const std::uint64_t first = running(kAnn, {"cpu0"}, 100);
  running(kAnn, {"cpu1"}, 90);
  usage(kAnn, 190);
  usage(kBob, 180);
  queued(kBob);
  queued(kBob);
  EXPECT_EQ(decide().stop, Ids{first});
}

TEST_F(Scheduler, TakesTheDeviceOfWhoHadTheMost) {
  devices(2);
  running(kAnn, {"cpu0"}, 100);
  const std::uint64_t bobs = running(kBob, {"cpu1"}, 100);
  usage(kAnn, 100);
  usage(kBob, 200);
  queued(kCat);
  EXPECT_EQ(decide().stop, Ids{bobs});
}

TEST_F(Scheduler, TwoJobsAreNotAskedForOneDevice) {
  devices(2);
  const std::uint64_t anns = running(kAnn, {"cpu0"}, 100);
  running(kAnn, {"cpu1"}, 1);
  usage(kAnn, 101);
  queued(kBob);
  queued(kBob);
  EXPECT_EQ(decide().stop, Ids{anns});
}

TEST_F(Scheduler, AGangStartsTogether) {
  devices(2);
  const std::uint64_t gang = queued(kAnn, 2);
  EXPECT_EQ(decide().start, (Starts{{gang, {"cpu0", "cpu1"}}}));
}

TEST_F(Scheduler, AGangStartsNotAtAllOnHalf) {
  devices(2);
  running(kBob, {"cpu0"}, 1);
  queued(kAnn, 2);
  usage(kBob, 1);
  EXPECT_TRUE(decide().start.empty());
}

TEST_F(Scheduler, AGangKeepsAFreeDeviceWhileTheOtherComesFree) {
  devices(2);
  const std::uint64_t busy = running(kBob, {"cpu0"}, 10);
  usage(kBob, 10);
  const std::uint64_t gang = queued(kAnn, 2);
  usage(kCat, 20);
  const std::uint64_t single = queued(kCat);
  const Decision decision = decide();
  EXPECT_TRUE(decision.start.empty()) << "cat is behind ann, and ann's gang gets cpu0 in 20 s";
  EXPECT_TRUE(decision.stop.empty());
  EXPECT_EQ(decision.look_again_at, machine.input.now + 20 * kSecond);
  EXPECT_EQ(why(gang), "waits for 2 of 2 cpu devices: cpu0 is busy with job " + std::to_string(busy) +
                           " of bob (running 10 s of its 30 s quantum), cpu1 is kept for it");
  EXPECT_EQ(why(single), "waits for 1 of 2 cpu devices: cpu0 is kept for job " + std::to_string(gang) +
                             " of ann, which goes first, cpu1 is kept for job " + std::to_string(gang) +
                             " of ann, which goes first");
}

TEST_F(Scheduler, AGangAsksAllItsDevicesAtOnce) {
  devices(2);
  const std::uint64_t older = running(kBob, {"cpu0"}, 50);
  const std::uint64_t younger = running(kBob, {"cpu1"}, 29);
  usage(kBob, 79);
  queued(kAnn, 2);
  EXPECT_TRUE(decide().stop.empty()) << "cpu0 would stand idle for a second";
  machine.input.now += kSecond;
  Ids stop = decide().stop;
  std::ranges::sort(stop);
  EXPECT_EQ(stop, (Ids{older, younger}));
}

TEST_F(Scheduler, AGangBehindItsOwnUsersJobKeepsNothing) {
  devices(2);
  running(kAnn, {"cpu0"}, 1000);
  queued(kAnn, 2);
  const std::uint64_t later = queued(kAnn);
  const std::uint64_t bobs = queued(kBob);
  usage(kAnn, 1000);
  EXPECT_EQ(decide().start, (Starts{{bobs, {"cpu1"}}}));
  machine.remove(bobs);
  EXPECT_EQ(decide().start, (Starts{{later, {"cpu1"}}})) << "a device is not idle for hours";
}

TEST_F(Scheduler, AUsersSmallJobsDoNotOvertakeTheirGang) {
  devices(2);
  running(kBob, {"cpu0"}, 100);
  usage(kAnn, 95);
  usage(kBob, 100);
  const std::uint64_t gang = queued(kAnn, 2);
  const std::uint64_t small = queued(kAnn);
  EXPECT_TRUE(decide().start.empty());
  EXPECT_EQ(why(small).substr(why(small).find("cpu1")),
            "cpu1 is left to job " + std::to_string(gang) + " of the same user, which goes first");
  EXPECT_NE(decide().look_again_at, 0u) << "usage changes without an event";
}

TEST_F(Scheduler, NamesTheNumbersInReasons) {
  devices(2);
  const std::uint64_t busy = running(kAnn, {"cpu0"}, 14);
  device("cpu1").draining = true;
  const std::uint64_t job = queued(kBob, 2);
  EXPECT_EQ(why(job), "waits for 2 of 2 cpu devices: cpu0 is busy with job " + std::to_string(busy) +
                          " of ann (running 14 s of its 30 s quantum), cpu1 is draining");
}

TEST_F(Scheduler, SaysWhyAJobPastItsQuantumStays) {
  devices(1);
  const std::uint64_t busy = running(kAnn, {"cpu0"}, 65);
  usage(kAnn, 65);
  usage(kBob, 70);
  const std::string before = "waits for 1 of 1 cpu device: cpu0 is busy with job " + std::to_string(busy) + " of ann ";
  const std::uint64_t bobs = queued(kBob);
  EXPECT_EQ(why(bobs),
            before + "(running 1 min 5 s; its owner has had 1 min 5 s of device time, this job's owner 1 min 10 s)");
  weight(kBob, 0.5);
  EXPECT_EQ(why(bobs), before +
                           "(running 1 min 5 s; its owner has had 1 min 5 s of device time, this job's owner "
                           "1 min 10 s, at weights 1 and 0.5)");
  machine.remove(bobs);
  const std::uint64_t anns = queued(kAnn);
  EXPECT_EQ(why(anns), before + "(running 1 min 5 s; it was submitted before this one)");
  machine.find(anns)->priority = -3;
  EXPECT_EQ(why(anns), before + "(running 1 min 5 s; its priority 0 goes before -3)");
}

TEST_F(Scheduler, SaysThatAJobIsGivingWay) {
  devices(1);
  const std::uint64_t busy = running(kAnn, {"cpu0"}, 31);
  usage(kAnn, 31);
  const std::uint64_t job = queued(kBob);
  const std::string before = "waits for 1 of 1 cpu device: cpu0 is busy with job " + std::to_string(busy) + " of ann ";
  EXPECT_EQ(why(job), before + "(which gives way after 31 s)");
  machine.find(busy)->stopping = true;
  EXPECT_EQ(why(job), before + "(which is about to end or give way)");
}

TEST_F(Scheduler, NamesAFewOfManyDevices) {
  devices(6);
  for (ScheduledDevice& device : machine.input.devices) device.draining = true;
  EXPECT_EQ(why(queued(kAnn)),
            "waits for 1 of 6 cpu devices: cpu0 is draining, cpu1 is draining, cpu2 is draining, cpu3 is draining and "
            "2 more");
}

TEST(DecayedUsage, HalvesInOneHalfLife) {
  DecayedUsage usage;
  usage.add(100, kSecond);
  const auto half_life = static_cast<std::uint64_t>(DecayedUsage::kHalfLifeSeconds) * kSecond;
  EXPECT_DOUBLE_EQ(usage.at(kSecond), 100);
  EXPECT_NEAR(usage.at(kSecond + half_life), 50, 1e-9);
  usage.add(10, kSecond + half_life);
  EXPECT_NEAR(usage.at(kSecond + 2 * half_life), 30, 1e-9);
  EXPECT_NEAR(usage.at(0), 60, 1e-9) << "a clock that was set back";
}

}  // namespace
}  // namespace ml::daemon
