// What mld and a worker process say to each other, on a SOCK_SEQPACKET socket pair that the worker inherits as fd 3.
// The framing, Header, DONE and ERROR are those of the session socket (libmlclient/transport/session_protocol.h). When
// the socket hangs up the worker exits; when the worker exits mld sees it hang up.
//
// Each side trusts the other's framing; the worker still checks everything that a client had a part in.
#pragma once

#include <cstdint>

#include "engine/runtime/preemption.h"
#include "libmlclient/transport/session_protocol.h"

namespace ml::daemon::worker_protocol {

using transport::protocol::Header;
inline constexpr int kSocketFd = 3;
inline constexpr std::uint32_t kMaxRunning = 64;
inline constexpr std::uint32_t kMaxLoading = 4;                              // models at a time
inline constexpr std::uint32_t kMaxGang = transport::protocol::kMaxFds - 1;  // devices of one worker

enum class Kind : std::uint32_t {
  // mld -> worker
  configure = 256,  // fds: RunningTable, a PreemptionPage for each device, the kernel's file if `kernel` -> ready
  open_session,     // -> done
  close_session,    // -> done, when nothing of it runs any more
  open_queue,       // 4 fds: submission, state, doorbell, wake -> queue_opened with 1 fd: completion
  close_queue,      // -> done, when nothing of it runs any more
  add_arena,        // 1 fd -> arena_added
  remove_arena,     // -> done at once
  load_model,       // 1 fd: the file -> done, once its program is there
  open_model,       // -> model_opened
  unload_model,     // -> done; sessions that have it open keep it
  set_weight,       // -> done
  statistics,       // -> session_statistics
  // 1 fd each that a client sent and nobody has looked at: the worker closes its own before it answers, since closing
  // could take for ever, and mld keeps another one until then.
  open_kernel_queue,  // a queue of the kernel module -> queue_opened without fds
  add_kernel_arena,   // a dma-buf of the kernel module -> arena_added
  // worker -> mld
  ready = 320,  // text: device fingerprint
  queue_opened,
  arena_added,
  model_opened,
  session_statistics,
  session_ended,  // unasked, request 0: a client broke the rules, or its work hung; text says how
};

// What the worker is for.
enum class Role : std::uint32_t { serving = 0, training = 1 };

struct Configure {
  Header header;
  std::uint32_t role;
  std::uint32_t threads;       // that one kernel may use
  std::uint64_t memory_bytes;  // of all sessions together: behind handles, scratch, packed weights; 0: no limit
  std::uint64_t poll_ns;       // an idle queue is polled so long; ~0: as the number of CPUs suggests
  std::uint32_t kernel;        // 1: the device is registered with the kernel module
  std::uint32_t reserved;
  char device[64];   // "cpu0"
  char backend[64];  // "cpu", "reference"
};
struct Ready {
  Header header;
};

struct OpenSession {
  Header header;
  std::uint64_t session;
  std::uint32_t uid;
  std::uint32_t weight;  // of the user; device time is shared in proportion among users that have work
  std::uint32_t queues;
  std::uint32_t arenas;
  std::uint32_t handles;
  std::uint32_t plans;         // of one program
  std::uint64_t device_bytes;  // of all sessions of its uid on this device
  std::uint64_t graph_bytes;
  std::uint64_t scratch_bytes;
  std::uint64_t compile_ms;  // of one COMPILE or plan
};
struct CloseSession {
  Header header;
  std::uint64_t session;
};
struct OpenQueue {
  Header header;
  std::uint64_t session;
  std::uint32_t queue;  // chosen by mld
  std::uint32_t depth;
  std::int32_t priority;
  std::uint32_t reserved;
};
struct OpenKernelQueue {
  Header header;
  std::uint64_t session;
  std::uint32_t queue;  // chosen by mld
  std::uint32_t depth;  // that the client says
};
struct QueueOpened {
  Header header;
  mlring_handle handle;
  std::uint64_t kernel_client;  // its file's number there (drm-client-id); 0: not the kernel's queue
};
struct CloseQueue {
  Header header;
  std::uint64_t session;
  std::uint32_t queue;
  std::uint32_t reserved;
};
struct AddArena {
  Header header;
  std::uint64_t session;
  std::uint64_t bytes;
};
struct ArenaAdded {
  Header header;
  std::uint32_t arena;
  std::uint32_t reserved;
};
struct RemoveArena {
  Header header;
  std::uint64_t session;
  std::uint32_t arena;
  std::uint32_t reserved;
};
// Models are named by a number that mld never uses twice.
struct LoadModel {
  Header header;
  std::uint64_t model;
  std::uint64_t bytes;
  std::uint64_t session;  // for whom, 0: nobody; it need not be one of this worker's
};
struct OpenModel {
  Header header;
  std::uint64_t session;
  std::uint64_t model;
};
struct ModelOpened {
  Header header;
  mlring_handle program;
};
struct UnloadModel {
  Header header;
  std::uint64_t model;
};
struct SetWeight {
  Header header;
  std::uint32_t uid;
  std::uint32_t weight;
};
// All sessions, from the first one behind `after`, as many as fit a packet.
struct Statistics {
  Header header;
  std::uint64_t after;  // 0: from the first
};
struct SessionEntry {
  std::uint64_t session;
  std::uint64_t busy_ns;  // executing
  std::uint64_t compile_ns;
  std::uint64_t device_bytes;  // behind handles
  std::uint64_t arena_bytes;
  std::uint64_t executions;
  std::uint64_t failures;
  std::uint64_t kernel_bytes;  // of the device, charged to it in the kernel
};
inline constexpr std::uint32_t kStatisticsEntries = 64;
struct SessionStatistics {
  Header header;
  std::uint64_t busy_ns;          // of the device, since the worker began
  std::uint64_t switches;         // preemptions (training worker) ...
  std::uint64_t switch_ns_total;  // ... from the demand to standing still
  std::uint64_t switch_ns_longest;
  std::uint64_t longest_kernel_ns;  // of the kernels during which somebody asked it to stand still
  std::uint64_t scratch_bytes;      // device memory behind no handle: intermediate values, packed weights
  std::uint64_t model_bytes;
  std::uint32_t models;
  std::uint32_t count;  // of entries used; fewer than kStatisticsEntries: these were the last
  SessionEntry entries[kStatisticsEntries];
};
static_assert(sizeof(SessionStatistics) <= transport::protocol::kMaxPacket);
struct SessionEnded {
  Header header;
  std::uint64_t session;
  std::uint32_t fault;  // MLRING_FAULT_*
  std::int32_t status;  // MLRING_CORRUPT, or MLRING_TIMEOUT: its work hung
};

// A page that the worker writes and mld reads when the worker has died: whose work every executor (from the front),
// compile thread (from the end) and loading thread was doing. 0: nobody's.
struct RunningTable {
  std::uint64_t session[kMaxRunning];
  std::uint64_t loading[kMaxLoading];
};

// One page per device, shared by its workers; each training worker stands still between two kernels while a serving
// worker has work.
using runtime::PreemptionPage;

}  // namespace ml::daemon::worker_protocol
