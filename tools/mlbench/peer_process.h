// A process that mlbench asks to do things, line by line over its standard input and output. While it isn't asked it is
// blocked in a read.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ml::bench {

class PeerProcess {
 public:
  // Starts `arguments[0]` on the CPUs of the calling thread. Throws io.
  explicit PeerProcess(std::vector<std::string> arguments);
  // Closes its input, which ends it, and waits for that.
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  // Without the line's end; nothing when the process has closed its output.
  std::optional<std::string> read_line();
  void write_line(const std::string& line);
  // Throws io when there is no answer.
  std::string ask(const std::string& line);

  std::uint64_t started() const { return started_; }  // CLOCK_MONOTONIC ns
  // CPU time of all its threads so far, ns.
  std::uint64_t cpu_time() const;
  // Waits until all its threads sleep: those of pools may spin for a while before they do. Throws timeout after ten
  // seconds.
  void settle() const;
  // Its maximum resident set so far.
  std::uint64_t peak_bytes() const;
  // The regular files that it has mapped: its program and libraries.
  std::vector<std::string> mapped_files() const;
  // Waits for its end; 128 when a signal was it. Call once, when read_line() has answered nothing.
  int exit_status();

 private:
  std::vector<std::filesystem::path> threads() const;
  bool runs() const;

  std::string name_;
  pid_t process_ = -1;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
  std::uint64_t started_ = 0;
};

}  // namespace ml::bench
