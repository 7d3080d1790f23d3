// What mld and the process of a job say to each other about the job, on a SOCK_SEQPACKET socket pair that mld-job
// inherits as fd 4; its session, on fd 3, is an ordinary client's. The framing and Header are those of the session
// socket. Nothing is answered: request is 0. When the socket hangs up, mld is gone and mld-job exits at once.
//
// mld-job runs as the job's owner: mld checks what it says like a client's, and kills it when it breaks the rules.
#pragma once

#include <cstdint>

#include "libmlclient/transport/session_protocol.h"

namespace ml::daemon::job_protocol {

using transport::protocol::Header;
inline constexpr int kSessionFd = 3;
inline constexpr int kControlFd = 4;

enum class Kind : std::uint32_t {
  // mld-job -> mld
  progress = 384,
  failed,  // text: why it is about to exit with kExitFailed; the job's reason
  // mld -> mld-job
  stop = 448,  // write a checkpoint and exit with kExitGaveWay
};

struct Progress {
  Header header;
  std::uint64_t step;
  std::uint64_t steps;  // in all
  std::uint64_t epoch;  // of `epochs`, from 1
  std::uint64_t epochs;
  double loss;  // of the epoch so far
  double accuracy;
  std::uint64_t checkpoint_step;  // of the last checkpoint on disk
};
static_assert(sizeof(Progress) == 24 + 56);

struct Failed {
  Header header;
};

enum class StopReason : std::uint32_t { preempted = 1, paused = 2, drained = 3 };
struct Stop {
  Header header;
  std::uint32_t reason;
  std::uint32_t reserved;
};
static_assert(sizeof(Stop) == 32);

// Exit codes of mld-job.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;       // by the job's own fault: it is not started again
inline constexpr int kExitDeviceLost = 69;  // queued again
inline constexpr int kExitGaveWay = 75;     // after its checkpoint; queued again, or paused

}  // namespace ml::daemon::job_protocol
