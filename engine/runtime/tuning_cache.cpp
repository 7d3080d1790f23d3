#include "engine/runtime/tuning_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <span>
#include <system_error>

#include "engine/graph/hashing.h"

namespace ml::runtime {
namespace {

constexpr std::string_view kVersion = "tuning-1";
constexpr std::size_t kMostBytes = 64 * 1024;  // of a file
constexpr std::string_view kTemporary = ".new-";
constexpr auto kLeftBehind = std::chrono::hours(1);  // older temporary files belong to nobody

std::string digits(std::uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::uint64_t hash_text(std::string_view text) { return hash_bytes(std::as_bytes(std::span(text))); }

std::string contents(std::string_view key, std::string_view answer) {
  std::string text = std::string(key) + "\n" + std::string(answer) + "\n";
  return text + digits(hash_text(text)) + "\n";
}

class File {
 public:
  File(const std::filesystem::path& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Nothing where there is no such file; a file that can't be read reads as an empty one, which is damaged.
std::optional<std::string> read_file(const std::filesystem::path& path) {
  const File file(path, O_RDONLY | O_NONBLOCK);
  if (file.fd() < 0) return errno == ENOENT || errno == ENOTDIR ? std::nullopt : std::optional<std::string>("");
  std::string text(kMostBytes, '\0');
  const ssize_t got = read(file.fd(), text.data(), text.size());
  text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return text;
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

TuningCache::TuningCache(std::filesystem::path folder, bool writes, Warn warn)
    : folder_(std::move(folder) / kVersion), writes_(writes), warn_(std::move(warn)) {}

std::filesystem::path TuningCache::file_of(std::string_view key) const { return folder_ / digits(hash_text(key)); }

void TuningCache::warn_once(bool& warned, const std::string& what) const {
  const std::lock_guard lock(mutex_);
  if (!warned) warn_(what);
  warned = true;
}

std::optional<std::string> TuningCache::find(std::string_view key) const {
  const std::filesystem::path path = file_of(key);
  const std::optional<std::string> text = read_file(path);
  if (!text) return std::nullopt;
  const std::size_t end = text->find('\n'), second = end == std::string::npos ? end : text->find('\n', end + 1);
  if (second != std::string::npos) {
    const std::string_view whole(*text);
    const std::string_view answer = whole.substr(end + 1, second - end - 1);
    if (whole == contents(whole.substr(0, end), answer)) {
      if (whole.substr(0, end) == key) return std::string(answer);
      return std::nullopt;  // another key of the same hash
    }
  }
  warn_once(warned_damaged_, "tuning cache: " + path.string() + " is damaged and counts as absent" +
                                 (writes_ ? "; it is measured and written again" : ""));
  return std::nullopt;
}

void TuningCache::keep(std::string_view key, std::string_view answer) {
  if (writes_) write(file_of(key), contents(key, answer));
}

void TuningCache::write(const std::filesystem::path& path, const std::string& text) {
  std::uint64_t serial = 0;
  bool sweeps = false;
  {
    const std::lock_guard lock(mutex_);
    serial = ++serial_;
    sweeps = !swept_;
    swept_ = true;
  }
  const auto failed = [&](const std::string& what, int error) {
    warn_once(warned_unwritable_, "tuning cache: " + what + ": " + std::strerror(error) +
                                      "; what is measured is kept in this process only");
  };
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return failed(folder_.string() + " can't be made", error.value());
  if (sweeps) remove_left_behind();
  const std::filesystem::path temporary =
      folder_ / (std::string(kTemporary) + std::to_string(getpid()) + "-" + std::to_string(serial));
  bool written = false;
  int why = 0;
  {
    unlink(temporary.c_str());  // of a dead process that had this number
    const File file(temporary, O_WRONLY | O_CREAT | O_EXCL);
    written = file.fd() >= 0 && write_all(file.fd(), text) && rename(temporary.c_str(), path.c_str()) == 0;
    why = errno;
  }
  if (written) return;
  unlink(temporary.c_str());
  failed(path.string() + " can't be written", why);
}

// What writers that were killed left.
void TuningCache::remove_left_behind() const {
  std::error_code error;
  const auto now = std::filesystem::file_time_type::clock::now();
  for (std::filesystem::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
    if (!at->path().filename().string().starts_with(kTemporary)) continue;
    std::error_code gone;
    const auto changed = std::filesystem::last_write_time(at->path(), gone);
    if (!gone && now - changed > kLeftBehind) std::filesystem::remove(at->path(), gone);
  }
}

}  // namespace ml::runtime
