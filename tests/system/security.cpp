// What docs/security.md says of the running processes, read from /proc.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "tests/system/support/daemon.h"
#include "tests/system/support/job_control.h"
#include "tests/system/support/job_files.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kAnna = 12001;
constexpr gid_t kFriends = 12077;
constexpr const char* kNoCapabilities = "0000000000000000";

fs::path proc(pid_t pid) { return "/proc/" + std::to_string(pid); }

// Of the process, or of one of its threads.
std::map<std::string, std::string> status_in(const fs::path& folder) {
  std::istringstream lines(read_file(folder / "status"));
  std::map<std::string, std::string> fields;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':'), value = line.find_first_not_of(" \t", colon + 1);
    if (colon != std::string::npos)
      fields[line.substr(0, colon)] = value == std::string::npos ? "" : line.substr(value);
  }
  return fields;
}

std::vector<fs::path> threads_of(pid_t pid) {
  std::vector<fs::path> folders;
  for (const fs::directory_entry& thread : fs::directory_iterator(proc(pid) / "task")) folders.push_back(thread.path());
  return folders;
}

std::string four_times(unsigned id) {
  const std::string one = std::to_string(id);
  return one + "\t" + one + "\t" + one + "\t" + one;
}

void expect_powerless(pid_t pid) {
  for (const fs::path& thread : threads_of(pid)) {
    const auto status = status_in(thread);
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
      EXPECT_EQ(status.at(set), kNoCapabilities) << set << " of " << thread;
    EXPECT_EQ(status.at("NoNewPrivs"), "1") << thread;
  }
}

// What its descriptors lead to, numbers taken away: "socket:", "/memfd:mlaccel-ring (deleted)".
std::multiset<std::string> files_of(pid_t pid) {
  std::multiset<std::string> files;
  for (const fs::directory_entry& fd : fs::directory_iterator(proc(pid) / "fd")) {
    std::string target = fs::read_symlink(fd.path());
    files.insert(target.substr(0, target.find(":[")));
  }
  return files;
}

class Security : public testing::Test {
 protected:
  Security() {
    need_root();
    const RawSession welcomed(daemon.socket());  // so the worker is ready, and in its sandbox
  }
  Daemon daemon{{.toml = std::string(kSystemToml), .system = true}};
  pid_t worker = daemon.workers().at(0);
};

TEST_F(Security, AWorkerIsSomebodyWithoutPower) {
  const passwd* const nobody = getpwnam("nobody");
  ASSERT_NE(nobody, nullptr);
  const auto status = status_in(proc(worker));
  EXPECT_EQ(status.at("Uid"), four_times(nobody->pw_uid));
  EXPECT_EQ(status.at("Gid"), four_times(nobody->pw_gid));
  expect_powerless(worker);
  // Not dumpable: its files in /proc are root's.
  struct stat owner {};
  ASSERT_EQ(stat((proc(worker) / "environ").c_str(), &owner), 0);
  EXPECT_EQ(owner.st_uid, 0U);
  EXPECT_EQ(read_file(proc(worker) / "environ"), "");
  EXPECT_EQ(fs::read_symlink(proc(worker) / "cwd"), "/");
  EXPECT_NE(read_file(proc(worker) / "limits").find("Max core file size        0                    0"),
            std::string::npos);
}

TEST_F(Security, EveryThreadOfAWorkerIsInTheSandbox) {
  RawSession session(daemon.socket());
  compute_something(session);
  const std::vector<fs::path> threads = threads_of(worker);
  EXPECT_GT(threads.size(), 3U);
  for (const fs::path& thread : threads) EXPECT_EQ(status_in(thread).at("Seccomp"), "2") << thread;
}

TEST_F(Security, AWorkerHoldsItsSocketAndNothingOfTheSystem) {
  const std::multiset<std::string> files = files_of(worker);
  EXPECT_EQ(files.count("socket"), 1U);
  for (const std::string& file : files) {
    const bool own = file == "socket" || file == "/dev/null" || file == daemon.directory() + "/mld.log" ||
                     file == "pipe" || file.starts_with("anon_inode") || file.starts_with("/memfd:mlaccel-");
    EXPECT_TRUE(own) << file;
  }
  EXPECT_NE(fs::read_symlink(proc(worker) / "ns/net"), fs::read_symlink(proc(daemon.pid()) / "ns/net"));
}

TEST_F(Security, AJobIsItsOwnerWithoutPower) {
  const Scratch folder(true);
  write_pictures(folder.path(), "pictures", 512);
  const std::string file = write_job(folder.path(), {.epochs = 1000});
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder.path()))
    ASSERT_EQ(chown(entry.path().c_str(), kAnna, kAnna), 0);
  ASSERT_EQ(chown(folder.path().c_str(), kAnna, kAnna), 0);
  const Job job(daemon, file, User{kAnna, kAnna, {kFriends}});
  ASSERT_TRUE(eventually([&] { return job.number("step") > 0; })) << job.show() << job.log();
  int processes = 0;
  for (const ProcessEntry& child : daemon.children()) {
    if (child.name == "mld-worker") {
      expect_powerless(child.pid);
      continue;
    }
    EXPECT_EQ(child.name, "mld-job");
    ++processes;
    EXPECT_EQ(status_in(proc(child.pid)).at("Uid"), four_times(kAnna));
    expect_powerless(child.pid);
  }
  EXPECT_EQ(processes, 1);
}

TEST_F(Security, SocketsAreForEverybodyAndStateForNobody) {
  const auto mode_of = [](const std::string& path) {
    struct stat status {};
    EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 0777;
  };
  EXPECT_EQ(mode_of(daemon.socket()), 0666U);
  EXPECT_EQ(mode_of(daemon.admin_socket()), 0666U);
  EXPECT_EQ(mode_of(daemon.state()), 0700U);
}

TEST_F(Security, EachSideWritesItsOwnPagesOnly) {
  RawSession session(daemon.socket());
  const auto queue = session.open_queue();
  struct Case {
    const char* name;
    int fd;
    bool writable;
    int seals;
  };
  constexpr int kFixed = F_SEAL_SHRINK | F_SEAL_GROW;
  for (const Case& one : {Case{"submission", queue->fd(0), true, kFixed},
                          Case{"completion", queue->fd(1), false, kFixed | F_SEAL_FUTURE_WRITE},
                          Case{"state", queue->fd(2), false, kFixed | F_SEAL_FUTURE_WRITE}}) {
    EXPECT_EQ(fcntl(one.fd, F_GET_SEALS) & one.seals, one.seals) << one.name;
    void* const at = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, one.fd, 0);
    EXPECT_EQ(at != MAP_FAILED, one.writable) << one.name;
    if (at != MAP_FAILED) munmap(at, 4096);
    // Nor by another door.
    const int again = open(("/proc/self/fd/" + std::to_string(one.fd)).c_str(), O_RDWR);
    void* const other = again >= 0 ? mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) : MAP_FAILED;
    EXPECT_EQ(other != MAP_FAILED, one.writable) << one.name << ", opened again";
    if (other != MAP_FAILED) munmap(other, 4096);
    if (again >= 0) close(again);
    EXPECT_EQ(pwrite(one.fd, "x", 1, 4095) == 1, one.writable) << one.name;
    EXPECT_NE(ftruncate(one.fd, 0), 0) << one.name;
    EXPECT_EQ(fallocate(one.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0, one.writable) << one.name;
  }
}

}  // namespace
}  // namespace ml::test
