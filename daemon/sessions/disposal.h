// Closes files that clients sent, and their sockets, which may hold more of them unread. Closing can wait for long: for
// a network peer (SO_LINGER), or for a file system that the client itself serves. The loop waits for nobody, so this is
// done on threads, one for each uid that has any: who sends such a file holds up only what is closed for itself.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

class Disposal {
 public:
  static constexpr std::size_t kMost = 256;  // files of one uid that wait to be closed

  Disposal();
  ~Disposal();  // leaves what still waits to the end of the process
  Disposal(const Disposal&) = delete;
  Disposal& operator=(const Disposal&) = delete;

  void close(uid_t uid, std::vector<transport::UniqueFd> files);
  // A session's socket, of which nothing is read any more.
  void hang_up(uid_t uid, transport::UniqueFd socket);
  // More than `kMost` of its files wait: it is to send no more.
  bool overdue(uid_t uid) const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the threads
};

}  // namespace ml::daemon
