// What a job has written, with a limit: beyond it the oldest part goes, whole lines at a time. Positions are counted
// from the first byte that was ever written, so a reader can go on where it was.
//
// On disk it is a few files named by the position of their first byte, FOLDER/log.0, FOLDER/log.1048576: nothing is
// ever rewritten, and mld finds out where it was when it starts again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

class JobLog {
 public:
  // Nothing is made on disk before the first append.
  JobLog(std::string folder, std::uint64_t limit_bytes);

  // What can't be written (a full disk) is left out; answers whether all of it was.
  bool append(std::string_view text);
  struct Part {
    std::uint64_t offset = 0;  // of the first byte
    std::string bytes;
  };
  Part read(std::uint64_t offset, std::size_t limit) const;
  std::uint64_t end() const;
  // All of it, with its folder.
  static void remove(const std::string& folder);

 private:
  std::string path(std::uint64_t start) const;
  void find_parts();
  bool write(std::string_view text);

  std::string folder_;
  std::uint64_t part_bytes_;
  std::map<std::uint64_t, std::uint64_t> parts_;  // by position: bytes
  transport::UniqueFd last_;                      // open for appending
};

}  // namespace ml::daemon
