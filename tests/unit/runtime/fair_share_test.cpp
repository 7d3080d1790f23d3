// Whose task is next, with a clock that only the test moves.
#include "engine/runtime/fair_share.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <vector>

namespace ml {
namespace {

using runtime::FairShare;

// One device that does one task at a time.
class Shares : public testing::Test {
 protected:
  FairShare::Place& queue(std::uint32_t user, std::uint64_t task_ns, std::int32_t priority = 0) {
    FairShare::Place& place = places.emplace_back();
    place.priority = priority;
    shares.join(place, user);
    users[&place] = user;
    durations[&place] = task_ns;
    return place;
  }
  FairShare::Place& flood(std::uint32_t user, std::uint64_t task_ns, std::int32_t priority = 0) {
    FairShare::Place& place = queue(user, task_ns, priority);
    shares.wait(place);
    return place;
  }
  // Does what is next until the device has been busy for so long; everybody goes on having work.
  void run(std::uint64_t nanoseconds) {
    had.clear();
    for (std::uint64_t busy = 0; busy < nanoseconds;) {
      FairShare::Place* next = shares.next();
      ASSERT_NE(next, nullptr);
      const std::uint64_t charged = shares.give(*next);
      shares.take_back(*next, charged, durations[next]);
      busy += durations[next];
      had[users[next]] += durations[next];
      order.push_back(next);
    }
  }

  FairShare shares;
  std::deque<FairShare::Place> places;
  std::map<const FairShare::Place*, std::uint32_t> users;
  std::map<const FairShare::Place*, std::uint64_t> durations;
  std::map<std::uint32_t, std::uint64_t> had;
  std::vector<const FairShare::Place*> order;
};

TEST_F(Shares, AreEqualWhateverTheTasksTake) {
  flood(1, 1'000);
  flood(2, 30'000);
  flood(3, 250);
  run(30'000'000);
  for (const std::uint32_t user : {1u, 2u, 3u})
    EXPECT_NEAR(static_cast<double>(had[user]), 10e6, 0.02 * 10e6) << "user " << user;
}

TEST_F(Shares, FollowTheWeights) {
  shares.set_weight(1, 3);
  shares.set_weight(2, 1);
  flood(1, 1'000);
  flood(2, 2'000);
  run(40'000'000);
  EXPECT_NEAR(static_cast<double>(had[1]), 30e6, 0.02 * 30e6);
  EXPECT_NEAR(static_cast<double>(had[2]), 10e6, 0.02 * 10e6);
}

TEST_F(Shares, AreNotLargerForManyQueues) {
  for (int i = 0; i < 20; ++i) flood(1, 1'000);
  flood(2, 1'000);
  run(10'000'000);
  EXPECT_NEAR(static_cast<double>(had[1]), 5e6, 0.02 * 5e6);
}

TEST_F(Shares, GoRoundAUsersQueues) {
  const FairShare::Place* queues[] = {&flood(1, 10), &flood(1, 10), &flood(1, 10)};
  run(90);
  ASSERT_EQ(order.size(), 9u);
  for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], queues[i % 3]);
}

TEST_F(Shares, ComeBehindPriorities) {
  flood(1, 10, -1);
  FairShare::Place& normal = flood(2, 10);
  FairShare::Place& high = flood(1, 10, 1);
  run(100);
  EXPECT_EQ(had[1], 100u) << "only the high one";
  shares.stop_waiting(high);
  run(100);
  EXPECT_EQ(had[2], 100u) << "whatever user 1 had before";
  shares.stop_waiting(normal);
  run(100);
  EXPECT_EQ(had[1], 100u);
}

TEST_F(Shares, AreNotSavedUp) {
  flood(1, 1'000);
  FairShare::Place& late = queue(2, 1'000);
  run(50'000'000);
  shares.wait(late);
  run(2'000'000);
  EXPECT_NEAR(static_cast<double>(had[1]), 1e6, 0.02 * 1e6) << "from now on they share";
}

TEST_F(Shares, AreNotRenewedByComingBack) {
  FairShare::Place& greedy = flood(1, 1'000);
  flood(2, 1'000);
  run(10'000);
  // User 1 has just had a long turn, leaves and is there again.
  const std::uint64_t charged = shares.give(greedy);
  shares.take_back(greedy, charged, 1'000'000);
  const double time = shares.time_of(1);
  shares.leave(greedy);
  FairShare::Place& again = queue(1, 1'000);
  queue(3, 1'000);
  EXPECT_EQ(shares.time_of(1), time);
  shares.wait(again);
  run(500'000);
  EXPECT_EQ(had[1], 0u);
}

TEST_F(Shares, PassOverWhoIsHeldBackUntilATaskIsBack) {
  FairShare::Place& first = flood(1, 1'000);
  flood(2, 1'000);
  const std::uint64_t charged = shares.give(first);
  FairShare::hold_back(*first.user);
  run(10'000);
  EXPECT_EQ(had[1], 0u);
  shares.take_back(first, charged, 1'000);
  run(100'000);
  EXPECT_GT(had[1], 0u);
}

TEST_F(Shares, HaveNobodyNextWhenNobodyWaits) {
  EXPECT_EQ(shares.next(), nullptr);
  FairShare::Place& place = flood(1, 10);
  EXPECT_TRUE(shares.anybody_waits());
  shares.leave(place);
  EXPECT_FALSE(shares.anybody_waits());
  EXPECT_EQ(shares.next(), nullptr);
}

}  // namespace
}  // namespace ml
