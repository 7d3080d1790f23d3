// Jobs whose data is gone, closed to their owner, or damaged: a clear reason, and the next job runs.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/system/support/daemon.h"
#include "tests/system/support/job_files.h"
#include "tests/system/support/mlctl.h"

namespace ml::test {
namespace {

constexpr uid_t kOwner = 12001;

class JobData : public testing::Test {
 protected:
  JobData() {
    if (chown(folder.path().c_str(), kOwner, kOwner) != 0) throw std::runtime_error("chown");
    write_pictures(folder.path(), "pictures", 256);
  }
  std::string as_owner(const std::vector<std::string>& arguments) {
    std::string out = mlctl_out(daemon, arguments, User{kOwner, kOwner});
    while (!out.empty() && out.back() == '\n') out.pop_back();
    return out;
  }
  // Accepted while all is well, started when it no longer is: the device is drained in between.
  std::string submit_and_spoil(const std::function<void()>& spoil) {
    mlctl_out(daemon, {"device", "drain", "cpu0"});
    const std::string job = as_owner({"job", "submit", write_job(folder.path(), {.name = "spoilt"}), "-o", "name"});
    spoil();
    mlctl_out(daemon, {"device", "drain", "cpu0", "--undo"});
    return job;
  }
  // Waits for its end; what `job show` says then.
  std::string ended(const std::string& job) {
    std::string shown;
    const bool over = eventually([&] {
      shown = as_owner({"job", "show", job, "-o", "json"});
      for (const char* const state : {"\"done\"", "\"failed\"", "\"cancelled\""}) {
        if (shown.find(state) != std::string::npos) return true;
      }
      return false;
    });
    EXPECT_TRUE(over) << shown << as_owner({"job", "logs", job});
    return shown;
  }
  void expect_failed(const std::string& job, const std::vector<std::string>& reason) {
    const std::string shown = ended(job);
    EXPECT_NE(shown.find("\"failed\""), std::string::npos) << shown;
    for (const std::string& part : reason) EXPECT_NE(shown.find(part), std::string::npos) << part << " in\n" << shown;
  }
  void expect_next_one_runs() {
    write_pictures(folder.path(), "others", 256);
    const JobFile right{.name = "right", .data = "others"};
    const std::string shown = ended(as_owner({"job", "submit", write_job(folder.path(), right), "-o", "name"}));
    EXPECT_NE(shown.find("\"done\""), std::string::npos) << shown;
    EXPECT_TRUE(std::filesystem::exists(folder.file("right.mlmodel")));
  }

  Scratch folder{true};
  std::string images = folder.file("pictures-images");
  Daemon daemon{{.toml = std::string(kSystemToml), .system = true}};
};

TEST_F(JobData, ThatIsMissingIsSaidOnSubmission) {
  const std::string path = write_job(folder.path(), {.name = "missing", .data = "nothing"});
  const Finished finished = mlctl(daemon, {"job", "submit", path}, User{kOwner, kOwner});
  EXPECT_FALSE(finished.ended.with(0));
  EXPECT_NE(finished.err.find("nothing-images"), std::string::npos) << finished.err;
  EXPECT_NE(finished.err.find("hint: "), std::string::npos) << finished.err;
}

TEST_F(JobData, ThatIsGoneWhenTheJobStarts) {
  const std::string job = submit_and_spoil([&] { std::filesystem::remove(images); });
  expect_failed(job, {"pictures-images", "not_found"});
  expect_next_one_runs();
}

TEST_F(JobData, ThatItsOwnerMayNotRead) {
  const std::string job = submit_and_spoil([&] {
    ASSERT_EQ(chown(images.c_str(), 0, 0), 0);
    ASSERT_EQ(chmod(images.c_str(), 0600), 0);
  });
  expect_failed(job, {"pictures-images", "Permission denied"});
  expect_next_one_runs();
}

TEST_F(JobData, ThatIsCutOff) {
  const std::string job = submit_and_spoil([&] { std::filesystem::resize_file(images, 1000); });
  expect_failed(job, {"pictures-images", "1000"});
  expect_next_one_runs();
}

TEST_F(JobData, ThatIsSomethingElse) {
  const std::string job = submit_and_spoil([&] { folder.write("pictures-images", std::string(20000, 'x')); });
  expect_failed(job, {"pictures-images"});
  expect_next_one_runs();
}

TEST_F(JobData, WhoseFolderIsGone) {
  const Scratch other(true);
  ASSERT_EQ(chown(other.path().c_str(), kOwner, kOwner), 0);
  write_pictures(other.path(), "pictures", 256);
  mlctl_out(daemon, {"device", "drain", "cpu0"});
  const std::string job = as_owner({"job", "submit", write_job(other.path(), {.name = "homeless"}), "-o", "name"});
  std::filesystem::remove_all(other.path());
  mlctl_out(daemon, {"device", "drain", "cpu0", "--undo"});
  expect_failed(job, {other.path().filename()});
  expect_next_one_runs();
}

}  // namespace
}  // namespace ml::test
