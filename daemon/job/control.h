// Who may stop a job: mld, over its socket (daemon/jobs/job_protocol.h), and signals.
#pragma once

#include <atomic>
#include <string>
#include <thread>

#include "daemon/jobs/job_protocol.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::job {

class Control {
 public:
  // `socket`: of mld, or -1. Make it before any other thread: it blocks SIGTERM and SIGINT, which ask the job to stop;
  // a second one ends the process. The process ends too when the socket hangs up: mld is gone.
  explicit Control(int socket);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // Asked to write a checkpoint and end.
  bool stop() const { return stop_.load(std::memory_order_relaxed); }
  // Tells mld; a report that finds the socket full is left out, the next one says more.
  void progress(const daemon::job_protocol::Progress& progress);
  void failed(const std::string& why);

 private:
  void run();

  int socket_;
  transport::UniqueFd signals_, end_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace ml::job
