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

// What AtomicFile names a file that is being written: PATH.NUMBER.tmp.
bool is_left_behind(const std::string& name, const std::string& of) {
  constexpr std::string_view kEnd = ".tmp";
  if (!name.starts_with(of + ".") || !name.ends_with(kEnd)) return false;
  const std::string number = name.substr(of.size() + 1, name.size() - of.size() - 1 - kEnd.size());
  return !number.empty() && std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; });
}

void remove_left_behind(const std::string& path) {
  std::error_code ignored;  // what can't be read or removed disturbs nobody
  const fs::path target = fs::exists(path, ignored) ? fs::canonical(path, ignored) : fs::path(path);
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (is_left_behind(entry.path().filename().string(), target.filename().string())) fs::remove(entry, ignored);
  }
}

}  // namespace

CheckpointFiles::CheckpointFiles(std::string path, int patience_ms)
    : path_(std::move(path)), previous_(path_ + ".previous") {
  const std::string lock = path_ + ".lock";
  lock_ = transport::UniqueFd(open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock_) {
    throw Error(Code::io, "'" + lock + "' cannot be opened: " + std::strerror(errno), {},
                "check that the folder of the checkpoint exists and may be written");
  }
  for (int waited = 0; flock(lock_.get(), LOCK_EX | LOCK_NB) != 0; waited += kLookMs) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      throw Error(Code::io, "'" + lock + "' cannot be locked: " + std::strerror(errno));
    if (waited >= patience_ms) {
      throw Error(Code::again, "'" + path_ + "' is used by another process", {},
                  "wait until the other job has ended, or give this one a checkpoint of its own");
    }
    poll(nullptr, 0, kLookMs);
  }
  remove_left_behind(path_);
}

bool CheckpointFiles::exists() const { return there(path_); }
bool CheckpointFiles::previous_exists() const { return there(previous_); }

void CheckpointFiles::keep_previous() {
  const std::string temporary = previous_ + ".tmp";
  unlink(temporary.c_str());
  // The link names the bytes that PATH has now; writing PATH makes a new file.
  if (link(path_.c_str(), temporary.c_str()) != 0) return;
  if (rename(temporary.c_str(), previous_.c_str()) != 0) unlink(temporary.c_str());
}

void CheckpointFiles::remove() {
  for (const std::string& file : {previous_, path_, path_ + ".lock"}) unlink(file.c_str());
}

}  // namespace ml::job
