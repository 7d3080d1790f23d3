// The scheduler over time: shares come out right, nobody starves, and no decision is impossible, whatever happens.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <set>

#include "tests/unit/daemon_scheduler/machine.h"

namespace ml::daemon {
namespace {

using namespace test;

constexpr std::uint64_t kEndless = ~std::uint64_t{0};

void run(Machine& machine, std::uint64_t until, std::uint64_t step, std::uint64_t checkpoint) {
  while (machine.input.now < until) {
    machine.decide(checkpoint);
    machine.advance(step);
  }
}

struct Shares {
  const char* what;
  int devices;
  std::vector<std::uint32_t> jobs_ann, jobs_bob;  // devices of each
  double weight_bob;
  std::uint64_t bob_comes;  // s
  double expected_bob;      // of the device time from then on
};
class Fairness : public testing::TestWithParam<Shares> {};

TEST_P(Fairness, IsWithinATenthAfterThirtySeconds) {
  const Shares& c = GetParam();
  Machine machine(2 * kSecond);
  for (int i = 0; i < c.devices; ++i) machine.device("cpu" + std::to_string(i));
  machine.user(1, "ann");
  machine.user(2, "bob", c.weight_bob);
  for (const std::uint32_t devices : c.jobs_ann) machine.submit(1, devices, kEndless);
  run(machine, c.bob_comes * kSecond, 10 * kMillisecond, 200 * kMillisecond);
  for (const std::uint32_t devices : c.jobs_bob) machine.submit(2, devices, kEndless);
  run(machine, 30 * kSecond, 10 * kMillisecond, 200 * kMillisecond);
  const double ann = machine.device_seconds[1], bob = machine.device_seconds[2];
  EXPECT_NEAR(bob / (ann + bob), c.expected_bob, 0.1 * c.expected_bob)
      << c.what << ": " << ann << " s, " << bob << " s";
  EXPECT_GT(ann + bob, 0.8 * 30 * c.devices) << "devices stood idle";
}
INSTANTIATE_TEST_SUITE_P(Scheduler, Fairness,
                         testing::Values(Shares{"a job each", 2, {1, 1}, {1, 1}, 1, 0, 0.5},
                                         Shares{"one device", 1, {1}, {1}, 1, 0, 0.5},
                                         Shares{"many jobs against two", 2, {1, 1, 1, 1, 1, 1}, {1, 1}, 1, 0, 0.5},
                                         Shares{"twice the weight", 2, {1, 1}, {1, 1}, 2, 0, 2.0 / 3},
                                         Shares{"twice the weight on one device", 1, {1}, {1}, 2, 0, 2.0 / 3},
                                         Shares{"gangs of both", 2, {2}, {2}, 1, 0, 0.5},
                                         Shares{"a gang against singles", 2, {2}, {1, 1}, 1, 0, 0.5},
                                         Shares{"singles against a gang", 2, {1, 1}, {2}, 1, 0, 0.5},
                                         Shares{"a little late", 2, {1, 1}, {1, 1}, 1, 2, 0.5}));

TEST(Simulation, AGangIsNotStarvedByAStreamOfSmallJobs) {
  for (const std::uint32_t owner : {1u, 2u}) {  // of the stream: the gang's own user, or another
    SCOPED_TRACE(owner);
    Machine machine(2 * kSecond);
    for (int i = 0; i < 4; ++i) machine.device("cpu" + std::to_string(i));
    machine.user(1, "ann");
    machine.user(2, "bob");
    std::mt19937_64 random(7);
    std::uint64_t gang = 0;
    bool started = false;
    for (int i = 0; i < 6000 && !started; ++i) {
      if (machine.input.jobs.size() < 12) machine.submit(owner, 1, (100 + random() % 3000) * kMillisecond);
      if (i == 300) gang = machine.submit(1, 4, kSecond).id;
      machine.decide(100 * kMillisecond);
      if (gang != 0 && machine.find(gang)->running) started = true;
      machine.advance(10 * kMillisecond);
    }
    EXPECT_TRUE(started) << "it has waited for " << (machine.input.now - 3 * kSecond) / kSecond << " s";
    EXPECT_LE(machine.input.now, 3 * kSecond + 8 * kSecond) << "a gang waits for a few quanta, not more";
  }
}

TEST(Simulation, TwoGangsTakeTurns) {
  Machine machine(kSecond);
  machine.device("cpu0");
  machine.device("cpu1");
  machine.user(1, "ann");
  machine.user(2, "bob");
  machine.submit(1, 2, 10 * kSecond);
  machine.submit(2, 2, 10 * kSecond);
  run(machine, 25 * kSecond, 10 * kMillisecond, 50 * kMillisecond);
  EXPECT_TRUE(machine.input.jobs.empty()) << "20 s of work, done in 25 s";
}

// What must hold of every decision.
void check(const SchedulerInput& input, const Decision& decision) {
  std::map<std::string, const ScheduledDevice*> devices;
  for (const ScheduledDevice& device : input.devices) devices[device.name] = &device;
  std::map<std::uint64_t, const ScheduledJob*> jobs;
  std::map<std::uint64_t, int> answers;
  for (const ScheduledJob& job : input.jobs) jobs[job.id] = &job;
  std::set<std::string> used;
  for (const Decision::Start& start : decision.start) {
    ++answers[start.job];
    const ScheduledJob& job = *jobs.at(start.job);
    EXPECT_FALSE(job.running);
    EXPECT_EQ(start.devices.size(), job.devices) << "all or none";
    for (const std::string& name : start.devices) {
      const ScheduledDevice& device = *devices.at(name);
      EXPECT_TRUE(used.insert(name).second) << name << " is given away twice";
      EXPECT_EQ(device.job, 0u) << name << " is taken";
      EXPECT_FALSE(device.draining);
      EXPECT_EQ(device.backend, job.backend);
      EXPECT_GE(device.memory_bytes, job.memory_bytes);
    }
  }
  for (const std::uint64_t id : decision.expire) {
    ++answers[id];
    const ScheduledJob& job = *jobs.at(id);
    EXPECT_TRUE(!job.running && !job.started && job.deadline != 0 && job.deadline <= input.now);
  }
  for (const Decision::Reason& reason : decision.waiting) {
    ++answers[reason.job];
    EXPECT_FALSE(reason.text.empty());
    EXPECT_EQ(reason.text.find('\n'), std::string::npos);
  }
  for (const ScheduledJob& job : input.jobs) EXPECT_EQ(answers[job.id], job.running ? 0 : 1) << "job " << job.id;
  std::set<std::uint64_t> stopped;
  for (const std::uint64_t id : decision.stop) {
    EXPECT_TRUE(stopped.insert(id).second);
    const ScheduledJob& job = *jobs.at(id);
    EXPECT_TRUE(job.running && !job.stopping);
    const bool drained = std::ranges::any_of(input.devices, [&](auto& d) { return d.job == id && d.draining; });
    EXPECT_TRUE(drained || job.running_since + input.quantum <= input.now) << "it has had no quantum";
  }
  if (decision.look_again_at != 0) {
    EXPECT_GT(decision.look_again_at, input.now);
  }
}

TEST(Simulation, RandomScenariosEndAndEveryDecisionIsPossible) {
  const char* given = std::getenv("ML_TEST_SEED");
  const std::uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  for (std::uint64_t seed = first; seed < first + 200; ++seed) {
    SCOPED_TRACE("ML_TEST_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t n) { return random() % n; };
    Machine machine((1 + below(5)) * kSecond);
    const auto devices = static_cast<std::uint32_t>(1 + below(5));
    for (std::uint32_t i = 0; i < devices; ++i)
      machine.device("cpu" + std::to_string(i), below(4) == 0 ? "reference" : "cpu", 1 + below(4));
    const std::uint64_t users = 1 + below(4);
    for (std::uint32_t uid = 1; uid <= users; ++uid)
      machine.user(uid, "user" + std::to_string(uid), static_cast<double>(1 + below(3)));
    std::uint64_t to_submit = 40;
    for (int step = 0; step < 20000 && (to_submit > 0 || !machine.input.jobs.empty()); ++step) {
      if (to_submit > 0 && below(10) == 0) {
        --to_submit;
        ScheduledJob& job =
            machine.submit(static_cast<std::uint32_t>(1 + below(users)), static_cast<std::uint32_t>(1 + below(devices)),
                           below(8000) * kMillisecond + 1);
        job.backend = below(4) == 0 ? "reference" : "cpu";
        job.memory_bytes = below(3);
        job.priority = static_cast<std::int32_t>(below(5)) - 2;
        if (below(5) == 0) job.deadline = machine.input.now + below(10) * kSecond;
        if (never_fits(job, machine.input.devices)) machine.remove(job.id);
      }
      if (to_submit > 0 && below(40) == 0) {
        ScheduledDevice& device = machine.input.devices[below(devices)];
        device.draining = !device.draining;
      }
      if (to_submit == 0) {
        for (ScheduledDevice& device : machine.input.devices) device.draining = false;
      }
      const SchedulerInput before = machine.input;
      const Decision decision = machine.decide(below(300) * kMillisecond);
      SchedulerInput known = before;  // with the usage that decide() filled in
      known.users = machine.input.users;
      check(known, decision);
      std::ranges::shuffle(known.jobs, random);
      std::ranges::shuffle(known.users, random);
      EXPECT_EQ(schedule(known), decision) << "the order of the lists counts";
      if (testing::Test::HasFailure()) return;
      machine.advance((20 + below(200)) * kMillisecond);
    }
    ASSERT_TRUE(machine.input.jobs.empty()) << machine.input.jobs.size() << " jobs never ended";
  }
}

}  // namespace
}  // namespace ml::daemon
