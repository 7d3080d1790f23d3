// device top: what two readings of mld's counters say.
#include "tools/mlctl/commands/utilisation.h"

#include <gtest/gtest.h>

namespace ml::ctl {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

admin::Device device(const std::string& name, std::uint64_t busy, std::uint64_t job = 0, std::uint64_t job_busy = 0) {
  admin::Device made;
  made.set_name(name);
  made.set_busy_ns(busy);
  made.set_job(job);
  made.set_job_busy_ns(job_busy);
  return made;
}
admin::Client client(std::uint64_t session, const std::string& on, std::uint64_t busy, std::uint64_t executions) {
  admin::Client made;
  made.set_session(session);
  made.set_program("p");
  made.set_device(on);
  made.set_busy_ns(busy);
  made.set_executions(executions);
  return made;
}

TEST(Utilisation, is_the_growth_of_a_counter_over_the_interval) {
  const Reading before{10 * kSecond, {device("cpu0", kSecond)}, {client(1, "cpu0", 0, 5)}};
  const Reading after{12 * kSecond, {device("cpu0", 2 * kSecond)}, {client(1, "cpu0", kSecond, 25)}};
  const auto lines = utilisation_between(before, after);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0].kind, "device");
  EXPECT_DOUBLE_EQ(lines[0].busy, 0.5);
  EXPECT_EQ(lines[1].name, "p (session 1)");
  EXPECT_DOUBLE_EQ(lines[1].busy, 0.5);
  EXPECT_EQ(lines[1].executions, 20U);
  EXPECT_EQ(lines[1].interval_ns, 2 * kSecond);
}

TEST(Utilisation, lists_each_devices_clients_below_it_the_busiest_first) {
  const Reading before{0, {device("a", 0), device("b", 0)}, {}};
  const Reading after{kSecond,
                      {device("a", 0), device("b", 0)},
                      {client(1, "b", 1, 0), client(2, "a", 1, 0), client(3, "b", 2, 0), client(4, "gone", 9, 0)}};
  std::string order;
  for (const Utilisation& line : utilisation_between(before, after)) order += line.name + ' ';
  EXPECT_EQ(order, "a p (session 2) b p (session 3) p (session 1) ");
}

TEST(Utilisation, counts_from_zero_where_a_worker_or_job_is_new) {
  const Reading before{0, {device("a", 5 * kSecond, 7, 5 * kSecond)}, {}};
  const Reading after{kSecond, {device("a", kSecond / 4, 8, kSecond / 2)}, {}};
  const auto lines = utilisation_between(before, after);
  EXPECT_DOUBLE_EQ(lines[0].busy, 0.25);
  EXPECT_DOUBLE_EQ(lines[0].training, 0.5);
}

TEST(Utilisation, survives_two_readings_at_one_time) {
  const Reading reading{5, {device("a", 1)}, {}};
  EXPECT_EQ(utilisation_between(reading, reading)[0].busy, 0);
}

}  // namespace
}  // namespace ml::ctl
