// Takes connections from a listening socket, a batch a turn. When mld or the system has no file left for another one,
// a file kept in reserve is given up for as long as it takes to say so to the client.
#pragma once

#include <functional>

#include "daemon/loop/loop.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::daemon {

class Listener {
 public:
  using Accepted = std::function<void(transport::UniqueFd connection)>;
  // `crowded` gets the connections that there is no file for; it is to answer, and to close soon.
  Listener(Loop& loop, transport::UniqueFd socket, Accepted accepted, Accepted crowded);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

 private:
  void watch();
  void accept_batch();
  bool refuse_one();

  Loop& loop_;
  transport::UniqueFd socket_, reserve_;
  Accepted accepted_, crowded_;
  Loop::TimerId pause_ = 0;  // 0: it listens
};

}  // namespace ml::daemon
