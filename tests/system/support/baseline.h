// What processes hold, read from /proc, and whether they come back to it: how a leak is found.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "tests/system/support/waiting.h"

namespace ml::test {

struct Usage {
  std::size_t fds = 0;
  std::size_t memfds = 0;  // among the fds
  std::size_t threads = 0;
  std::size_t memfd_mappings = 0;
  std::uint64_t memfd_mapped_bytes = 0;
  std::uint64_t rss_bytes = 0;
  std::uint64_t cpu_ns = 0;  // user and system, in steps of 10 ms
};
// Throws when there is no such process, or it is not ours to look at.
Usage usage_of(pid_t pid);

class Baseline {
 public:
  explicit Baseline(std::vector<pid_t> pids);
  // Looks until every process holds no more fds, memfds and memfd mappings than at first, and at most `rss_slack` bytes
  // more memory (an allocator keeps some). A failure names the process and what it holds too much of.
  testing::AssertionResult restored(Milliseconds within = Milliseconds(1000),
                                    std::uint64_t rss_slack = 16u << 20) const;

 private:
  std::vector<pid_t> pids_;
  std::vector<Usage> first_;
};

}  // namespace ml::test
