// Jobs whose data is gone, closed to their owner, or damaged: a clear reason, and the next job runs.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/system/support/daemon.h"
#include "tests/system/support/job_control.h"
#include "tests/system/support/job_files.h"

namespace ml::test {
namespace {

constexpr uid_t kOwner = 12001;

class JobData : public testing::Test {
 protected:
  JobData() {
    if (chown(folder.path().c_str(), kOwner, kOwner) != 0) throw std::runtime_error("chown");
    write_pictures(folder.path(), "pictures", 256);
  }
  Job submit(const std::string& in, const JobFile& file) { return {daemon, write_job(in, file), User{kOwner, kOwner}}; }
  // Accepted while all is well, started when it no longer is: the device is drained in between.
  Job submit_and_spoil(const std::string& in, const std::function<void()>& spoil) {
    mlctl_out(daemon, {"device", "drain", "cpu0"});
    Job job = submit(in, {.name = "spoilt"});
    spoil();
    mlctl_out(daemon, {"device", "drain", "cpu0", "--undo"});
    return job;
  }
  static void expect_failed(const Job& job, const std::vector<std::string>& reason) {
    EXPECT_TRUE(job.reaches("failed")) << job.show() << job.log();
    const std::string said = json_field(job.show(), "reason");
    for (const std::string& part : reason) EXPECT_NE(said.find(part), std::string::npos) << part << " in\n" << said;
  }
  void expect_next_one_runs() {
    write_pictures(folder.path(), "others", 256);
    const Job next = submit(folder.path(), {.name = "right", .data = "others"});
    EXPECT_TRUE(next.reaches("done")) << next.show() << next.log();
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
  const Job job = submit_and_spoil(folder.path(), [&] { std::filesystem::remove(images); });
  expect_failed(job, {"pictures-images", "No such file"});
  expect_next_one_runs();
}

TEST_F(JobData, ThatItsOwnerMayNotRead) {
  const Job job = submit_and_spoil(folder.path(), [&] {
    ASSERT_EQ(chown(images.c_str(), 0, 0), 0);
    ASSERT_EQ(chmod(images.c_str(), 0600), 0);
  });
  expect_failed(job, {"pictures-images", "Permission denied"});
  expect_next_one_runs();
}

TEST_F(JobData, ThatIsCutOff) {
  const Job job = submit_and_spoil(folder.path(), [&] { std::filesystem::resize_file(images, 1000); });
  expect_failed(job, {"pictures-images", "984"});
  expect_next_one_runs();
}

TEST_F(JobData, ThatIsSomethingElse) {
  const Job job = submit_and_spoil(folder.path(), [&] { folder.write("pictures-images", std::string(20000, 'x')); });
  expect_failed(job, {"pictures-images"});
  expect_next_one_runs();
}

TEST_F(JobData, WhoseFolderIsGone) {
  const Scratch other(true);
  ASSERT_EQ(chown(other.path().c_str(), kOwner, kOwner), 0);
  write_pictures(other.path(), "pictures", 256);
  const Job job = submit_and_spoil(other.path(), [&] { std::filesystem::remove_all(other.path()); });
  expect_failed(job, {other.path().filename(), "No such file"});
  expect_next_one_runs();
}

}  // namespace
}  // namespace ml::test
