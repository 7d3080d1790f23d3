// What a client and mld say to each other on the session socket (SOCK_SEQPACKET): one message a packet, fds beside it.
// Descriptors and tensors never pass here; they lie in the memory that is agreed upon here. Both ends include this
// page.
//
// Life of a session: HELLO -> WELCOME. OPEN_QUEUE -> QUEUE gives the rings. ADD_ARENA lets descriptors name a memfd.
// The session ends when either side closes the socket. Requests carry a number that the answer repeats; mld answers in
// any order, and every request exactly once: with its own kind of answer, DONE, or ERROR. DEVICE_LOST comes
// unasked, with request 0.
//
// A device that is registered with the kernel module has a node, which WELCOME tells to those who offered
// kFeatureKernel. The client opens it, makes context, queue and memory there, and hands the fds of queue and memory
// over in OPEN_KERNEL_QUEUE and ADD_KERNEL_ARENA. It need not: OPEN_QUEUE and ADD_ARENA work in any session.
//
// The other side is hostile: a message has exactly the size of its kind (text behind it counted in `text_bytes`),
// fields not named are zero, fds are exactly those of its kind. Anything else ends the session with ERROR.
#pragma once

#include <cstdint>

#include "kernel/uapi/mlaccel_ring.h"

namespace ml::transport::protocol {

inline constexpr std::uint32_t kMagic = 0x6363616d;  // "macc"
// Versions are minor versions of mlaccel's protocol; a HELLO names the oldest and newest that the client speaks.
inline constexpr std::uint32_t kOldestVersion = 1;
inline constexpr std::uint32_t kVersion = 2;       // 2: queues of the kernel module
inline constexpr std::uint32_t kMaxPacket = 8192;  // bytes, text included
inline constexpr std::uint32_t kMaxFds = 16;
inline constexpr std::uint32_t kMaxName = 64;  // of a device, a model, a client; final zero included

enum class Kind : std::uint32_t {
  // client -> mld
  hello = 1,
  open_queue,      // -> queue
  close_queue,     // -> done, when nothing of it runs any more
  add_arena,       // 1 fd -> arena
  remove_arena,    // -> done, at once: the worker unmaps it when its last use is over
  open_model,      // text: reference -> model
  register_model,  // 1 fd, text: name -> registered
  // from version 2 on, when kFeatureKernel was granted
  open_kernel_queue,  // 1 fd: of QUEUE_CREATE -> queue, without fds
  add_kernel_arena,   // 1 fd: the dma-buf of a host BO -> arena
  // mld -> client
  welcome = 64,  // text: device fingerprint
  queue,         // 5 fds: submission, completion, state, doorbell, wake; none for one of the kernel's
  arena,
  model,  // 1 fd: the model's file, read-only
  registered,
  done,
  error,        // text: what, where, what to do, separated by MLRING_MESSAGE_PART
  device_lost,  // the worker died: the state pages say LOST too. Say HELLO on a new socket.
};

struct Header {
  std::uint32_t kind;        // Kind
  std::uint32_t bytes;       // of the whole packet
  std::uint64_t request;     // chosen by who asks, not 0; repeated in the answer
  std::uint32_t text_bytes;  // UTF-8 behind the struct, no final zero
  std::uint32_t reserved;
};
static_assert(sizeof(Header) == 24);

// What the session is for. Interactive and serving sessions share the worker of a device.
enum class Purpose : std::uint32_t { interactive = 0, serving = 1 };

// What HELLO offers and WELCOME grants.
inline constexpr std::uint64_t kFeatureKernel = 1;
inline constexpr std::uint64_t kFeatures = kFeatureKernel;

struct Hello {
  Header header;
  std::uint32_t magic;
  std::uint32_t oldest_version;
  std::uint32_t newest_version;
  std::uint32_t purpose;
  std::uint64_t features;  // kFeature*; what mld doesn't know it doesn't grant
  char device[kMaxName];   // a device's name ("cpu0"), a backend ("cpu"), or empty: mld chooses
  char client[kMaxName];   // the program's name, for people
};
static_assert(sizeof(Hello) == 24 + 24 + 128);

struct Welcome {
  Header header;
  std::uint32_t version;
  std::uint32_t generation;  // of the device's worker
  std::uint64_t features;    // of those that were offered
  std::uint64_t session;     // for people and logs; it opens nothing
  std::uint32_t threads;     // of the device
  std::uint32_t minor;       // kFeatureKernel: the device's node is /dev/accel/accelN or /dev/dri/renderDN; else 0
  char device[kMaxName];
  char backend[kMaxName];
};
static_assert(sizeof(Welcome) == 24 + 32 + 128);

struct OpenQueue {
  Header header;
  std::uint32_t depth;    // a power of two, MLRING_DEPTH_MIN to MLRING_DEPTH_MAX
  std::int32_t priority;  // -1 low, 0 normal, 1 high (high: group mlaccel-admin)
};
static_assert(sizeof(OpenQueue) == 32);

struct QueueOpened {
  Header header;
  std::uint32_t queue;  // names it in CLOSE_QUEUE
  std::uint32_t depth;
  mlring_handle handle;  // what WAIT names it by
};
static_assert(sizeof(QueueOpened) == 40);

// Priority comes from the queue's context.
struct OpenKernelQueue {
  Header header;
  std::uint32_t depth;  // that it was made with
  std::uint32_t reserved;
};
static_assert(sizeof(OpenKernelQueue) == 32);

struct CloseQueue {
  Header header;
  std::uint32_t queue;
  std::uint32_t reserved;
};

// The memfd is sealed with F_SEAL_SHRINK and F_SEAL_GROW at least, not against writing, of ordinary pages, `bytes`
// long.
struct AddArena {
  Header header;
  std::uint64_t bytes;
};
// ADD_KERNEL_ARENA: the same for a dma-buf of a host BO of this device, whose user is the session's.
struct ArenaAdded {
  Header header;
  std::uint32_t arena;  // what descriptors name it by
  std::uint32_t reserved;
};
struct RemoveArena {
  Header header;
  std::uint32_t arena;
  std::uint32_t reserved;
};

// Text: "name", "name:version", "name@alias", each also as "owner/name" for a model that its owner shares.
struct OpenModel {
  Header header;
};
struct ModelOpened {
  Header header;
  mlring_handle program;  // in this session's table; FREE lets go of it
  std::uint64_t version;
  std::uint64_t bytes;  // of the file
};
// A model file of `bytes` in a memfd sealed against everything (SHRINK, GROW, WRITE). Answered when it is on disk and
// the worker has loaded it once, so what is registered is known to run.
struct RegisterModel {
  Header header;
  std::uint64_t bytes;
  std::uint32_t shared;  // 1: others may use it
  std::uint32_t reserved;
};
struct ModelRegistered {
  Header header;
  std::uint64_t version;  // from 1
};

struct Done {
  Header header;
};
struct Failed {
  Header header;
  std::int32_t status;  // MLRING_*: a negated ml::Code
  std::uint32_t reserved;
};
struct DeviceLost {
  Header header;
  std::uint32_t generation;
  std::uint32_t reserved;
};

}  // namespace ml::transport::protocol
