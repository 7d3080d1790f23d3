#include "daemon/limits/limits.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "daemon/config/units.h"

namespace ml::daemon {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

Config small() {
  Config config;
  config.limits = {1, 2, 3, 4096, 5, 6, 7, 8, 9, 10, 11, 12, 13, 4};
  return config;
}

Error refusal(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error;
  }
  return Error(Code::internal, "nothing was refused");
}

TEST(LimitsTest, counts_what_each_user_holds) {
  const Config config = small();
  Limits limits(config);
  limits.take(1000, Resource::arena_bytes, 4000);
  limits.take(1001, Resource::arena_bytes, 96);
  EXPECT_EQ(limits.used(1000, Resource::arena_bytes), 4000u);
  EXPECT_EQ(limits.used(1001, Resource::arena_bytes), 96u);
  EXPECT_EQ(limits.uids(), (std::vector<std::uint32_t>{1000, 1001}));
  limits.give(1000, Resource::arena_bytes, 4000);
  EXPECT_EQ(limits.used(1000, Resource::arena_bytes), 0u);
  EXPECT_EQ(limits.uids(), std::vector<std::uint32_t>{1001});
}

TEST(LimitsTest, a_refusal_says_who_holds_and_wants_how_much_and_which_key_raises_it) {
  const Config config = small();
  Limits limits(config);
  limits.take(1000, Resource::arena_bytes, 4000);
  const Error error = refusal([&] { limits.take(1000, Resource::arena_bytes, 97); });
  EXPECT_EQ(error.code(), Code::no_space);
  EXPECT_EQ(error.message(),
            "user 1000 holds 3.9 KiB of memory shared with devices and wants 97 bytes more, the limit is 4 KiB");
  EXPECT_EQ(error.context(), "limits.arena_bytes");
  EXPECT_EQ(error.hint(), "free some, or ask for a higher arena_bytes in mld.toml");
  EXPECT_EQ(limits.used(1000, Resource::arena_bytes), 4000u) << "nothing is counted then";
  limits.take(1000, Resource::arena_bytes, 96);
}

TEST(LimitsTest, every_resource_has_its_own_limit_and_error) {
  const Config config = small();
  const std::map<Resource, std::uint64_t> expected = {
      {Resource::sessions, 1},     {Resource::queues, 2}, {Resource::arenas, 3},  {Resource::arena_bytes, 4096},
      {Resource::device_bytes, 5}, {Resource::jobs, 10},  {Resource::models, 11}, {Resource::model_bytes, 12}};
  ASSERT_EQ(expected.size(), kResources);
  for (const auto& [resource, most] : expected) {
    Limits limits(config);
    EXPECT_EQ(limits.limit(7, resource), most);
    limits.take(7, resource, most);
    const Error error = refusal([&] { limits.take(7, resource); });
    EXPECT_EQ(error.code(), Code::no_space);
    EXPECT_EQ(error.context(), "limits." + std::string(resource_name(resource)));
  }
}

TEST(LimitsTest, the_largest_amounts_do_not_wrap_around) {
  Config config = small();
  config.limits.arena_bytes = kUnlimited;
  Limits limits(config);
  limits.take(7, Resource::arena_bytes, kUnlimited - 1);
  EXPECT_EQ(refusal([&] { limits.take(7, Resource::arena_bytes, kUnlimited); }).code(), Code::no_space);
  limits.take(7, Resource::arena_bytes, 1);
  EXPECT_EQ(refusal([&] { limits.take(7, Resource::arena_bytes, 1); }).code(), Code::no_space);
}

TEST(LimitsTest, a_limit_lowered_below_what_is_held_refuses_more_and_takes_nothing_away) {
  Config config = small();
  Limits limits(config);
  limits.take(7, Resource::queues, 2);
  Config lower = small();
  lower.limits.queues = 1;
  limits.reload(lower);
  EXPECT_EQ(refusal([&] { limits.take(7, Resource::queues); }).code(), Code::no_space);
  limits.give(7, Resource::queues, 2);
  limits.take(7, Resource::queues);
}

TEST(LimitsTest, new_sessions_a_second_are_bounded_per_user) {
  const Config config = small();
  Limits limits(config);
  const std::uint64_t start = 5 * kSecond;
  for (int i = 0; i < 4; ++i) limits.admit_session(7, start);
  const Error error = refusal([&] { limits.admit_session(7, start + kSecond / 8); });
  EXPECT_EQ(error.code(), Code::again);
  EXPECT_EQ(error.context(), "limits.sessions_a_second");
  limits.admit_session(8, start);  // somebody else has tokens of their own
  limits.admit_session(7, start + kSecond / 4);
  EXPECT_EQ(refusal([&] { limits.admit_session(7, start + kSecond / 4); }).code(), Code::again);
  for (int i = 0; i < 4; ++i) limits.admit_session(7, start + 100 * kSecond);
  EXPECT_EQ(refusal([&] { limits.admit_session(7, start + 100 * kSecond); }).code(), Code::again)
      << "what was saved up is no more than one second's";
}

TEST(LimitsTest, users_who_hold_nothing_are_forgotten_when_there_are_many) {
  const Config config = small();
  Limits limits(config);
  limits.take(1, Resource::jobs);
  for (std::uint32_t uid = 2; uid < 5000; ++uid) limits.admit_session(uid, uid * kSecond);
  EXPECT_EQ(limits.used(1, Resource::jobs), 1u);
}

}  // namespace
}  // namespace ml::daemon
