// The store on a file system without room: a small tmpfs in a mount namespace of the child's own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "daemon/store/store.h"
#include "ml/error.h"
#include "tests/support/temp_directory.h"

namespace ml::daemon {
namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::perror(what);
  std::_Exit(1);
}

// Leaves no room, whatever file system it is on.
void fill(const std::string& path) {
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
  require(file >= 0, "open filler");
  const std::string block(4096, 'f');
  while (write(file, block.data(), block.size()) > 0) {
  }
  require(errno == ENOSPC, "the disk is full");
  close(file);
}

void scenario(const std::string& folder) {
  require(unshare(getuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) == 0, "unshare");
  require(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "private mounts");
  require(mount("none", folder.c_str(), "tmpfs", 0, "size=1m") == 0, "mount tmpfs");
  const std::string path = folder + "/state.db";
  StoredJob job;
  job.state = "queued";
  job.specification = std::string(20'000, 's');
  std::size_t added = 0;
  {
    Store store(path);
    for (int i = 0; i < 3; ++i, ++added) store.add_job(job);
    fill(folder + "/filler");
    bool refused = false;
    for (int i = 0; i < 100 && !refused; ++i) {
      try {
        store.add_job(job);
        ++added;
      } catch (const Error& error) {
        refused = error.code() == Code::no_space && !error.hint().empty();
        require(refused, error.what());
      }
    }
    require(refused, "a full disk refuses a job");
    require(store.jobs().size() == added, "nothing is half-written");

    require(unlink((folder + "/filler").c_str()) == 0, "unlink filler");
    store.add_job(job);  // with room again it goes on
    ++added;
  }
  Store store(path);
  require(store.jobs().size() == added, "what was answered is there after a restart");
}

TEST(StoreOnAFullDisk, RefusesWithoutHalfWritingAndGoesOnWhenThereIsRoom) {
  test::TempDirectory folder;
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    try {
      scenario(folder.path().string());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::_Exit(2);
    }
    std::_Exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

}  // namespace
}  // namespace ml::daemon
