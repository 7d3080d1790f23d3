#include "daemon/config/units.h"

#include <gtest/gtest.h>

namespace ml::daemon {
namespace {

TEST(UnitsTest, sizes) {
  EXPECT_EQ(parse_bytes("0"), 0u);
  EXPECT_EQ(parse_bytes("4096"), 4096u);
  EXPECT_EQ(parse_bytes("8GiB"), 8ull << 30);
  EXPECT_EQ(parse_bytes("1.5 MiB"), 3u << 19);
  EXPECT_EQ(parse_bytes("2GB"), 2'000'000'000u);
  EXPECT_EQ(parse_bytes("8388607TiB"), 8388607ull << 40);
  for (const char* wrong :
       {"", "GiB", "-1", "8gib", "8 GiBs", "1e9", "nan", "inf", "0x10", "8388608TiB", " 1", "1,5GiB"})
    EXPECT_EQ(parse_bytes(wrong), std::nullopt) << wrong;
}

TEST(UnitsTest, durations) {
  EXPECT_EQ(parse_duration("500ms"), 500u);
  EXPECT_EQ(parse_duration("30s"), 30'000u);
  EXPECT_EQ(parse_duration("1.5min"), 90'000u);
  EXPECT_EQ(parse_duration("2h"), 7'200'000u);
  for (const char* wrong : {"", "30", "30S", "-1s", "s", "6000000h", "20000000000000ms"})
    EXPECT_EQ(parse_duration(wrong), std::nullopt) << wrong;
}

TEST(UnitsTest, cpu_lists) {
  EXPECT_EQ(parse_cpus("0"), std::vector<int>{0});
  EXPECT_EQ(parse_cpus("8,0-3,2"), (std::vector<int>{0, 1, 2, 3, 8}));
  for (const char* wrong : {"", ",", "1,", "-1", "3-1", "1-", "a", "0-70000", "1 ,2", "1--2"})
    EXPECT_EQ(parse_cpus(wrong), std::nullopt) << wrong;
  EXPECT_EQ(format_cpus({0, 1, 2, 5, 8, 9}), "0-2,5,8-9");
  EXPECT_EQ(format_cpus({}), "");
}

TEST(UnitsTest, sizes_for_people) {
  EXPECT_EQ(format_bytes(0), "0 bytes");
  EXPECT_EQ(format_bytes(1023), "1023 bytes");
  EXPECT_EQ(format_bytes(1024), "1 KiB");
  EXPECT_EQ(format_bytes(3ull << 29), "1.5 GiB");
  EXPECT_EQ(format_bytes(kUnlimited), "unlimited");
}

}  // namespace
}  // namespace ml::daemon
