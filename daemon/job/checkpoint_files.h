// The files of a job's checkpoint: PATH, the one before it as PATH.previous, and PATH.lock, which whoever reads or
// writes them holds. So when PATH is damaged the one before is still there, and two processes of a job (an old one that
// has not ended yet, a new one) never write at the same time.
//
// A new one is written as PATH.next, synced, and changes places with PATH; what was PATH becomes PATH.previous.
// Whatever a crash interrupts, PATH is whole.
#pragma once

#include <functional>
#include <string>

#include "libmlclient/transport/unique_fd.h"

namespace ml::job {

class CheckpointFiles {
 public:
  // Takes the lock, waiting for `patience_ms` for a process that is about to end, and puts in order what a killed write
  // left behind. Throws again when another process keeps the lock, and io.
  CheckpointFiles(const std::string& path, int patience_ms);

  const std::string& path() const { return path_; }
  const std::string& previous() const { return previous_; }
  bool exists() const;           // PATH. Throws io when that can't be told.
  bool previous_exists() const;  // the same
  // `save` writes a whole, synced file where it is told to. Throws what it throws, and io; PATH is then what it was.
  void write(const std::function<void(const std::string& path)>& save);
  // When they are not needed any more.
  void remove();

 private:
  void sync_folder() const;

  std::string path_, previous_, next_, lock_path_;  // path_: behind its links
  transport::UniqueFd lock_;
};

// Removes what killed writes of a file have left beside it (PATH.NUMBER.tmp).
void remove_left_behind(const std::string& path);

}  // namespace ml::job
