// What the tuning cache keeps, and what it survives.
#include "engine/runtime/tuning_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/support/small_disk.h"
#include "tests/support/temp_directory.h"

namespace ml::runtime {
namespace {

namespace fs = std::filesystem;

class TuningCacheTest : public testing::Test {
 protected:
  TuningCache cache(bool writes = true) {
    return {folder(), writes, [this](const std::string& what) { warnings.push_back(what); }};
  }
  fs::path folder() const { return fs::path(temporary.path()) / "cache"; }
  std::vector<fs::path> files() const {
    std::vector<fs::path> all;
    if (!fs::exists(folder() / "tuning-1")) return all;
    for (const auto& entry : fs::directory_iterator(folder() / "tuning-1")) all.push_back(entry.path());
    return all;
  }

  test::TempDirectory temporary;
  std::vector<std::string> warnings;
};

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

TEST_F(TuningCacheTest, AnswersInAnotherProcessWhatWasKept) {
  cache().keep("op=matmul f32[2, 3]", "panel_matmul");
  cache().keep("op=matmul f32[2, 4]", "dnnl_matmul");
  EXPECT_EQ(cache().find("op=matmul f32[2, 3]"), "panel_matmul");
  EXPECT_EQ(cache().find("op=matmul f32[2, 4]"), "dnnl_matmul");
  EXPECT_EQ(cache().find("op=matmul f32[2, 5]"), std::nullopt);
  cache().keep("op=matmul f32[2, 3]", "dnnl_matmul");
  EXPECT_EQ(cache().find("op=matmul f32[2, 3]"), "dnnl_matmul");
  EXPECT_EQ(files().size(), 2u);
  EXPECT_TRUE(warnings.empty());
}

TEST_F(TuningCacheTest, TakesAnotherKeysFileForNoAnswer) {
  cache().keep("one", "a");
  const fs::path one = files().at(0);
  cache().keep("two", "b");
  for (const fs::path& path : files()) {
    if (path != one) fs::copy_file(path, one, fs::copy_options::overwrite_existing);
  }
  EXPECT_EQ(cache().find("one"), std::nullopt);
  EXPECT_TRUE(warnings.empty());
}

TEST_F(TuningCacheTest, IgnoresDamageSaysSoOnceAndWritesAnew) {
  cache().keep("key", "answer");
  const fs::path path = files().at(0);
  const std::string whole = read(path);
  std::vector<std::string> damaged{"", "\n", "\n\n\n", "garbage", std::string(200'000, 'x'), whole + "more"};
  for (std::size_t length = 1; length < whole.size(); ++length) damaged.push_back(whole.substr(0, length));
  for (std::size_t at = 0; at < whole.size(); ++at) {
    damaged.push_back(whole);
    damaged.back()[at] = static_cast<char>(damaged.back()[at] ^ 1);
  }
  for (const std::string& text : damaged) {
    write(path, text);
    warnings.clear();
    TuningCache again = cache();
    EXPECT_EQ(again.find("key"), std::nullopt) << text;
    EXPECT_EQ(again.find("key"), std::nullopt) << text;
    ASSERT_EQ(warnings.size(), 1u) << text;
    EXPECT_NE(warnings[0].find(path.string() + " is damaged"), std::string::npos) << warnings[0];
    again.keep("key", "answer");
    EXPECT_EQ(again.find("key"), "answer");
  }
}

TEST_F(TuningCacheTest, FollowsNoLinkAndReadsNoFolder) {
  cache().keep("key", "answer");
  const fs::path path = files().at(0), other = fs::path(temporary.path()) / "other";
  fs::rename(path, other);
  fs::create_symlink(other, path);
  EXPECT_EQ(cache().find("key"), std::nullopt);
  cache().keep("key", "new");
  EXPECT_EQ(cache().find("key"), "new");
  EXPECT_FALSE(fs::is_symlink(path));
  EXPECT_NE(read(other).find("answer"), std::string::npos);
  fs::remove(path);
  fs::create_directory(path);
  EXPECT_EQ(cache().find("key"), std::nullopt);
}

TEST_F(TuningCacheTest, WritesNothingWhenItOnlyReads) {
  cache(false).keep("key", "answer");
  EXPECT_FALSE(fs::exists(folder()));
  cache().keep("key", "answer");
  write(files().at(0), "damaged");
  EXPECT_EQ(cache(false).find("key"), std::nullopt);
  EXPECT_EQ(read(files().at(0)), "damaged");
}

TEST_F(TuningCacheTest, SaysOnceThatItCannotWrite) {
  write(folder(), "a file where a folder should be");
  TuningCache broken = cache();
  broken.keep("one", "a");
  broken.keep("two", "b");
  EXPECT_EQ(broken.find("one"), std::nullopt);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("can't be made"), std::string::npos) << warnings[0];
}

TEST_F(TuningCacheTest, SurvivesAFullDisk) {
  fs::create_directory(folder());
  EXPECT_TRUE(test::on_small_disk(folder(), "256k", [this] {
    TuningCache full = cache();
    full.keep("before", "a");
    test::require(warnings.empty(), "there is room at first");
    test::fill_disk(folder() / "filler");
    full.keep("after", "b");
    full.keep("later", "c");
    test::require(warnings.size() == 1, "it is said once");
    test::require(full.find("before") == "a", "what is there stays");
    test::require(!full.find("after") && files().size() == 1, "nothing half is left");
    fs::remove(folder() / "filler");
    full.keep("after", "b");
    test::require(full.find("after") == "b", "there is room again");
  }));
}

// Writers that are killed at any moment leave whole files, and temporary ones that go when they are old.
TEST_F(TuningCacheTest, SurvivesWritersThatAreKilled) {
  constexpr int kKeys = 7;
  const auto key = [](int i) { return "key " + std::to_string(i) + std::string(2000, 'k'); };
  for (int round = 0; round < 12; ++round) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_t writers[3];
    for (pid_t& writer : writers) {
      writer = fork();
      ASSERT_GE(writer, 0);
      if (writer != 0) continue;
      TuningCache mine(folder(), true, [](const std::string&) { _exit(1); });
      for (int i = 0;; ++i) {
        mine.keep(key(i % kKeys), "answer " + std::to_string(i % kKeys));
        const std::optional<std::string> answer = mine.find(key(i % kKeys));
        if (answer != "answer " + std::to_string(i % kKeys)) _exit(2);
        if (::write(ends[1], "w", 1) != 1) _exit(3);
      }
    }
    close(ends[1]);
    char turn = 0;
    for (int i = 0; i < 40 + round * 5; ++i) ASSERT_EQ(::read(ends[0], &turn, 1), 1);
    for (const pid_t writer : writers) {
      kill(writer, SIGKILL);
      int status = 0;
      ASSERT_EQ(waitpid(writer, &status, 0), writer);
      EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself with " << WEXITSTATUS(status);
    }
    close(ends[0]);
    for (int i = 0; i < kKeys; ++i) {
      const std::optional<std::string> answer = cache().find(key(i));
      EXPECT_TRUE(!answer || answer == "answer " + std::to_string(i));
    }
  }
  EXPECT_TRUE(warnings.empty()) << warnings[0];
  write(folder() / "tuning-1" / ".new-1-1", "half");
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  for (const fs::path& path : files()) fs::last_write_time(path, yesterday);
  write(folder() / "tuning-1" / ".new-1-2", "of somebody at work");
  cache().keep(key(0), "answer 0");
  EXPECT_EQ(files().size(), static_cast<std::size_t>(kKeys) + 1);
}

}  // namespace
}  // namespace ml::runtime
