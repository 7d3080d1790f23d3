#include "daemon/job/checkpoint_files.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "ml/error.h"

namespace ml::job {
namespace {

namespace fs = std::filesystem;

constexpr int kLookMs = 20;  // flock can be waited for without end or not at all

bool there(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT) return false;
  throw Error(Code::io, "'" + path + "' cannot be looked at: " + std::strerror(errno));
}

[[noreturn]] void refuse(const std::string& path, const char* what) {
  throw Error(Code::io, "'" + path + "' " + what + ": " + std::strerror(errno), {},
              "check that the folder of the checkpoint exists and may be written");
}

std::string behind_links(const std::string& path) {
  std::error_code none;
  const fs::path target = fs::canonical(path, none);
  return none ? path : target.string();
}

// What AtomicFile names a file that is being written: PATH.NUMBER.tmp.
bool is_left_behind(const std::string& name, const std::string& of) {
  constexpr std::string_view kEnd = ".tmp";
  if (!name.starts_with(of + ".") || !name.ends_with(kEnd)) return false;
  const std::string number = name.substr(of.size() + 1, name.size() - of.size() - 1 - kEnd.size());
  return !number.empty() && std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; });
}

std::string folder_of(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

}  // namespace

void remove_left_behind(const std::string& path) {
  std::error_code ignored;  // what can't be read or removed disturbs nobody
  const std::string name = fs::path(path).filename().string();
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_of(path), ignored)) {
    if (is_left_behind(entry.path().filename().string(), name)) fs::remove(entry, ignored);
  }
}

CheckpointFiles::CheckpointFiles(const std::string& path, int patience_ms)
    : path_(behind_links(path)), previous_(path_ + ".previous"), next_(path_ + ".next"), lock_path_(path_ + ".lock") {
  lock_ = transport::UniqueFd(open(lock_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock_) refuse(lock_path_, "cannot be opened");
  for (int waited = 0; flock(lock_.get(), LOCK_EX | LOCK_NB) != 0; waited += kLookMs) {
    if (errno != EWOULDBLOCK && errno != EINTR) refuse(lock_path_, "cannot be locked");
    if (waited >= patience_ms) {
      throw Error(Code::again, "'" + path_ + "' is used by another process", {},
                  "wait until the other job has ended, or give this one a checkpoint of its own");
    }
    poll(nullptr, 0, kLookMs);
  }
  remove_left_behind(next_);
  // A whole file either way: a new one that had not taken its place yet, or the old one just after that.
  rename(next_.c_str(), previous_.c_str());
}

bool CheckpointFiles::exists() const { return there(path_); }
bool CheckpointFiles::previous_exists() const { return there(previous_); }

void CheckpointFiles::write(const std::function<void(const std::string& path)>& save) {
  save(next_);
  struct stat old {};
  if (stat(path_.c_str(), &old) == 0) chmod(next_.c_str(), old.st_mode & 0777);
  if (renameat2(AT_FDCWD, next_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) == 0) {
    rename(next_.c_str(), previous_.c_str());
  } else if (rename(next_.c_str(), path_.c_str()) != 0) {  // the first one, or a file system that exchanges nothing
    refuse(path_, "cannot be replaced");
  }
  sync_folder();
}

void CheckpointFiles::sync_folder() const {
  const transport::UniqueFd folder(open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder && fsync(folder.get()) != 0 && errno == EIO) refuse(path_, "is replaced, but its folder cannot be synced");
}

void CheckpointFiles::remove() {
  for (const std::string& file : {previous_, path_, lock_path_}) unlink(file.c_str());
}

}  // namespace ml::job
