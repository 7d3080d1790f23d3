// The files of a job's checkpoint: PATH, the one before it as PATH.previous, and PATH.lock, which whoever reads or
// writes them holds. So when PATH is damaged the one before is still there, and two processes of a job (an old one that
// has not ended yet, a new one) never write at the same time.
#pragma once

#include <string>

#include "libmlclient/transport/unique_fd.h"

namespace ml::job {

class CheckpointFiles {
 public:
  // Takes the lock, waiting for `patience_ms` for a process that is about to end, and removes what a killed write left
  // behind. Throws again when another process keeps the lock, and io.
  CheckpointFiles(std::string path, int patience_ms);

  const std::string& path() const { return path_; }
  const std::string& previous() const { return previous_; }
  bool exists() const;           // PATH. Throws io when that can't be told.
  bool previous_exists() const;  // the same
  // Before PATH is written: what it is now becomes PATH.previous. Where the file system has no hard links there is no
  // previous one.
  void keep_previous();
  // When they are not needed any more.
  void remove();

 private:
  std::string path_, previous_;
  transport::UniqueFd lock_;
};

}  // namespace ml::job
