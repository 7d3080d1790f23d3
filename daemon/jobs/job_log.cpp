#include "daemon/jobs/job_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

namespace ml::daemon {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "log.";
constexpr std::uint64_t kLongestLine = 64 << 10;  // a part that finds no end of a line by then is cut within it

}  // namespace

JobLog::JobLog(std::string folder, std::uint64_t limit_bytes)
    : folder_(std::move(folder)), part_bytes_(std::max<std::uint64_t>(1, limit_bytes / 2)) {
  find_parts();
}

std::string JobLog::path(std::uint64_t start) const { return folder_ + "/log." + std::to_string(start); }

void JobLog::find_parts() {
  std::error_code none;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, none)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    std::uint64_t start = 0;
    const char* const end = name.data() + name.size();
    const auto [at, error] = std::from_chars(name.data() + kPrefix.size(), end, start);
    if (error == std::errc{} && at == end) parts_[start] = entry.file_size(none);
  }
}

std::uint64_t JobLog::end() const { return parts_.empty() ? 0 : parts_.rbegin()->first + parts_.rbegin()->second; }

bool JobLog::append(std::string_view text) {
  while (!text.empty()) {
    std::string_view piece = text;
    const std::uint64_t filled = parts_.empty() ? 0 : parts_.rbegin()->second;
    const bool full = filled >= part_bytes_;
    if (full) {
      const std::size_t line = text.find('\n');
      if (line != text.npos) piece = text.substr(0, line + 1);
    } else {
      piece = text.substr(0, std::min<std::uint64_t>(text.size(), part_bytes_ - filled));
    }
    if (!write(piece)) return false;
    text.remove_prefix(piece.size());
    if (!full || (piece.back() != '\n' && parts_.rbegin()->second < part_bytes_ + kLongestLine)) continue;
    // The next part begins with a line; of the parts before, the last one stays.
    const std::uint64_t next = end();
    last_.reset();
    parts_[next] = 0;
    while (parts_.size() > 2) {
      unlink(path(parts_.begin()->first).c_str());
      parts_.erase(parts_.begin());
    }
  }
  return true;
}

bool JobLog::write(std::string_view text) {
  if (parts_.empty()) parts_[0] = 0;
  auto& [start, bytes] = *parts_.rbegin();
  if (!last_) {
    std::error_code none;
    fs::create_directories(folder_, none);
    last_ = transport::UniqueFd(open(path(start).c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
    if (!last_) return false;
  }
  while (!text.empty()) {
    const ssize_t written = ::write(last_.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += static_cast<std::uint64_t>(written);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

JobLog::Part JobLog::read(std::uint64_t offset, std::size_t limit) const {
  Part part;
  part.offset = std::clamp(offset, parts_.empty() ? 0 : parts_.begin()->first, end());
  for (const auto& [start, bytes] : parts_) {
    const std::uint64_t at = part.offset + part.bytes.size();
    if (at >= start + bytes || part.bytes.size() >= limit) continue;
    const transport::UniqueFd file(open(path(start).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) break;
    std::string buffer(std::min<std::uint64_t>(limit - part.bytes.size(), start + bytes - at), '\0');
    const ssize_t count = pread(file.get(), buffer.data(), buffer.size(), static_cast<off_t>(at - start));
    if (count <= 0) break;
    part.bytes.append(buffer, 0, static_cast<std::size_t>(count));
    if (static_cast<std::size_t>(count) < buffer.size()) break;
  }
  return part;
}

void JobLog::remove(const std::string& folder) {
  std::error_code none;
  fs::remove_all(folder, none);
}

}  // namespace ml::daemon
