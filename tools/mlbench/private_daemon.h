// A mld of mlbench's own: --user, on sockets in a temporary folder.
#pragma once

#include <sys/types.h>

#include <string>

namespace ml::bench {

// Gone with everything in it when this goes.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class PrivateDaemon {
 public:
  // Starts mld with `toml` as its settings and waits until it is ready. Its state stays in `folder`.
  explicit PrivateDaemon(const TemporaryFolder& folder, const std::string& toml = {});
  ~PrivateDaemon();
  PrivateDaemon(const PrivateDaemon&) = delete;
  PrivateDaemon& operator=(const PrivateDaemon&) = delete;

  const std::string& socket() const { return socket_; }
  double milliseconds_to_ready() const { return milliseconds_to_ready_; }

 private:
  std::string socket_;
  pid_t process_ = -1;
  double milliseconds_to_ready_ = 0;
};

}  // namespace ml::bench
