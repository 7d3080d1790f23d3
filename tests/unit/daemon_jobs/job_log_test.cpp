// A job's log: bounded, cut at lines, readable from any position.
#include "daemon/jobs/job_log.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <random>

namespace ml::daemon {
namespace {

namespace fs = std::filesystem;

class Log : public testing::Test {
 protected:
  Log() : folder(testing::TempDir() + "job_log_" + std::to_string(getpid())) { fs::remove_all(folder); }
  ~Log() override { fs::remove_all(folder); }
  std::uint64_t on_disk() const {
    std::uint64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(folder)) bytes += entry.file_size();
    return bytes;
  }
  const std::string folder;
};

TEST_F(Log, IsEmptyAndMakesNothingAtFirst) {
  const JobLog log(folder, 1000);
  EXPECT_EQ(log.end(), 0u);
  EXPECT_EQ(log.read(0, 100).bytes, "");
  EXPECT_FALSE(fs::exists(folder));
}

TEST_F(Log, ReadsWhatWasWritten) {
  JobLog log(folder, 1000);
  EXPECT_TRUE(log.append("one\n"));
  EXPECT_TRUE(log.append("two\n"));
  EXPECT_EQ(log.read(0, 100).bytes, "one\ntwo\n");
  EXPECT_EQ(log.read(4, 100).bytes, "two\n");
  EXPECT_EQ(log.read(0, 3).bytes, "one");
  const JobLog::Part behind = log.read(1000, 10);
  EXPECT_EQ(behind.offset, 8u) << "a reader that is ahead comes to the end";
  EXPECT_EQ(behind.bytes, "");
}

TEST_F(Log, GoesOnAfterARestart) {
  { JobLog(folder, 1000).append("one\n"); }
  JobLog log(folder, 1000);
  EXPECT_EQ(log.end(), 4u);
  log.append("two\n");
  EXPECT_EQ(log.read(0, 100).bytes, "one\ntwo\n");
}

TEST_F(Log, KeepsTheNewestWithinItsLimitInWholeLines) {
  constexpr std::uint64_t kLimit = 4096;
  std::mt19937_64 random(3);
  JobLog log(folder, kLimit);
  std::string all;
  while (all.size() < 20 * kLimit) {
    const std::string line = std::string(random() % 90, 'x') + std::to_string(all.size()) + "\n";
    // In pieces, as a pipe gives them.
    for (std::size_t at = 0; at < line.size();) {
      const std::size_t piece = 1 + random() % 40;
      log.append(std::string_view(line).substr(at, piece));
      at += piece;
    }
    all += line;
    ASSERT_LE(on_disk(), kLimit + 2 * 128);
  }
  EXPECT_EQ(log.end(), all.size());
  const JobLog::Part kept = log.read(0, ~std::size_t{0} >> 1);
  EXPECT_EQ(kept.bytes, all.substr(kept.offset)) << "what is kept is the end, and where it says";
  EXPECT_GE(kept.bytes.size(), kLimit / 2);
  EXPECT_EQ(all[kept.offset - 1], '\n') << "it begins with a line";
}

TEST_F(Log, SurvivesALineWithoutEnd) {
  JobLog log(folder, 4096);
  const std::string chunk(8192, 'y');
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(log.append(chunk));
  EXPECT_LE(on_disk(), 2 * ((64 << 10) + 4096 + 8192)) << "no line end, no part end, but a limit all the same";
}

TEST_F(Log, ReadingInPiecesGivesTheWhole) {
  JobLog log(folder, 1 << 12);
  for (int i = 0; i < 500; ++i) log.append("line " + std::to_string(i) + "\n");
  const JobLog::Part whole = log.read(0, 1 << 20);
  std::string pieces;
  for (std::uint64_t at = whole.offset;;) {
    const JobLog::Part part = log.read(at, 7);
    if (part.bytes.empty()) break;
    EXPECT_EQ(part.offset, at);
    pieces += part.bytes;
    at += part.bytes.size();
  }
  EXPECT_EQ(pieces, whole.bytes);
}

TEST_F(Log, SaysWhenTheDiskTakesNoMore) {
  JobLog log("/proc/no-such-folder", 1000);
  EXPECT_FALSE(log.append("lost\n"));
  EXPECT_EQ(log.read(0, 100).bytes, "");
}

}  // namespace
}  // namespace ml::daemon
