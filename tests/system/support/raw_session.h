// A client without libmlclient: the session socket and the rings themselves, so that a test can say and hold exactly
// what it wants, bad things too. Every wait has an end.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/graph.h"
#include "libmlclient/transport/client_ring.h"
#include "libmlclient/transport/kernel_node.h"
#include "libmlclient/transport/seqpacket.h"
#include "libmlclient/transport/session_protocol.h"
#include "tests/system/support/waiting.h"

namespace ml::test {

namespace protocol = transport::protocol;

// mld answered a request with ERROR.
struct Refused : std::runtime_error {
  Refused(std::int32_t its_status, const std::string& text) : std::runtime_error(text), status(its_status) {}
  std::int32_t status;  // MLRING_*
};
// mld closed the session's socket.
struct HungUp : std::runtime_error {
  HungUp() : std::runtime_error("mld closed the session") {}
};

// A memfd as an arena has to be, unless told otherwise.
struct MemoryOptions {
  std::uint64_t bytes = 1u << 20;
  int seals = 0x0002 | 0x0004;  // F_SEAL_SHRINK | F_SEAL_GROW
};
transport::UniqueFd make_memory(const MemoryOptions& options = {});

class RawQueue {
 public:
  struct Answer {
    mlring_completion completion;
    std::string message;
    std::int32_t status() const { return completion.status; }
  };

  // From the answer to OPEN_QUEUE.
  explicit RawQueue(transport::Packet packet);
  // One of the kernel's, with the answer to OPEN_KERNEL_QUEUE: fds are its pages three times, no doorbell, and the
  // wake.
  RawQueue(std::shared_ptr<transport::KernelNode> node, transport::NodeQueue queue, transport::UniqueFd wake,
           const transport::Packet& packet);
  ~RawQueue();
  RawQueue(const RawQueue&) = delete;
  RawQueue& operator=(const RawQueue&) = delete;

  std::uint32_t id() const { return id_; }
  mlring_handle handle() const { return handle_; }
  std::uint32_t depth() const { return layout_.depth; }
  transport::ClientRing& ring() { return *ring_; }

  std::uint64_t submit(const mlring_descriptor& descriptor);  // its sequence; throws when the ring is full
  Answer wait(std::uint64_t sequence, Milliseconds within = kPatience);
  Answer run(const mlring_descriptor& descriptor, Milliseconds within = kPatience) {
    return wait(submit(descriptor), within);
  }
  Answer nop(Milliseconds within = kPatience) { return run(mlring_descriptor{}, within); }
  // Waits until the queue is no longer active.
  transport::RingState ended(Milliseconds within = kPatience);

  // For tests that break the rules.
  const mlring_layout& layout() const { return layout_; }
  mlring_submission_header* submission() { return static_cast<mlring_submission_header*>(pages_[0]); }
  std::span<mlring_descriptor> descriptors();
  const mlring_completion_header* completion() const { return static_cast<mlring_completion_header*>(pages_[1]); }
  const mlring_state* state() const { return static_cast<mlring_state*>(pages_[2]); }
  // The fds in the order of the protocol: submission, completion, state, doorbell, wake.
  int fd(int number) const { return fds_[static_cast<std::size_t>(number)].get(); }

  // Of the kernel's.
  const transport::NodeQueue& of_node() const { return of_node_; }

 private:
  void open(const transport::Packet& packet);
  void read_all();

  std::shared_ptr<transport::KernelNode> node_;
  transport::NodeQueue of_node_;
  std::vector<transport::UniqueFd> fds_;
  std::uint32_t id_ = 0;
  mlring_handle handle_{};
  mlring_layout layout_{};
  void* pages_[3] = {};
  std::unique_ptr<transport::ClientRing> ring_;
  std::map<std::uint64_t, Answer> answers_;
};

// Memory that client and worker share, and what a test lays into it.
class RawArena {
 public:
  RawArena(transport::UniqueFd memory, std::uint64_t bytes, std::uint32_t id);
  ~RawArena();
  RawArena(const RawArena&) = delete;
  RawArena& operator=(const RawArena&) = delete;

  std::uint32_t id() const { return id_; }
  int fd() const { return memory_.get(); }
  std::byte* at(std::uint64_t offset) { return static_cast<std::byte*>(base_) + offset; }
  std::uint64_t reserve(std::uint64_t bytes);  // answers an offset; throws when it is full
  std::uint64_t put(std::span<const std::byte> bytes);
  // A dense argument of this arena, its memory reserved.
  mlring_argument argument(std::uint32_t direction, std::uint32_t dtype, std::initializer_list<std::uint64_t> dims,
                           std::uint64_t element_bytes);
  mlring_argument input(const std::vector<float>& values);
  mlring_argument output(std::uint64_t floats);
  std::vector<float> floats(const mlring_argument& argument);
  mlring_descriptor descriptor(std::uint32_t opcode, const std::vector<mlring_argument>& arguments);

 private:
  transport::UniqueFd memory_;
  std::uint64_t bytes_, used_ = 64;
  std::uint32_t id_;
  void* base_;
};

struct HelloOptions {
  std::string device = {};
  std::string client = "system test";
  std::uint32_t oldest = protocol::kOldestVersion;
  std::uint32_t newest = protocol::kVersion;
  std::uint32_t magic = protocol::kMagic;
  protocol::Purpose purpose = protocol::Purpose::interactive;
  std::uint64_t features = 0;
};

class RawSession {
 public:
  // Connects, and says HELLO unless `options` is empty. Throws Refused, HungUp, or std::system_error when nobody
  // listens there.
  explicit RawSession(const std::string& socket_path, const std::optional<HelloOptions>& options = HelloOptions{});
  void hello(const HelloOptions& options);

  const protocol::Welcome& welcome() const { return welcome_; }
  const std::string& fingerprint() const { return fingerprint_; }

  // Sends a message, fills in its request number, and waits for the answer with that number.
  template <class T>
  transport::Packet request(T message, std::string_view text = {}, std::initializer_list<int> fds = {}) {
    message.header.request = next_request_++;
    if (!transport::send_message(socket_.get(), message, text, std::span(fds.begin(), fds.size()))) throw_send_error();
    return answer(message.header.request);
  }
  transport::Packet answer(std::uint64_t request, Milliseconds within = kPatience);
  // Waits for a message that nobody asked for: DEVICE_LOST, STOP_JOB.
  transport::Packet unasked(protocol::Kind kind, Milliseconds within = kPatience);
  // Waits until mld closes the socket, reading what comes before that.
  bool hung_up(Milliseconds within = kPatience);

  std::unique_ptr<RawQueue> open_queue(std::uint32_t depth = 64, std::int32_t priority = 0);
  std::unique_ptr<RawArena> add_arena(std::uint64_t bytes = 1u << 20);
  // The same through the kernel module, in a session that was opened with its feature.
  bool has_kernel() const { return (welcome_.features & protocol::kFeatureKernel) != 0; }
  std::shared_ptr<transport::KernelNode> node();
  std::unique_ptr<RawQueue> open_kernel_queue(std::uint32_t depth = 64, std::uint64_t timeout_ns = 0);
  std::unique_ptr<RawArena> add_kernel_arena(std::uint64_t bytes = 1u << 20);
  void close() { socket_.reset(); }
  int socket() const { return socket_.get(); }

 private:
  [[noreturn]] void throw_send_error();
  transport::Packet receive(const Deadline& deadline);

  transport::UniqueFd socket_;
  std::uint64_t next_request_ = 1;
  protocol::Welcome welcome_{};
  std::string fingerprint_;
  std::shared_ptr<transport::KernelNode> node_;
  std::vector<transport::Packet> kept_;  // that came while another answer was waited for
};

// y = x + 1 over f32 of any length, and a loop that runs for as long as `turns` says: something to be busy with.
Graph add_one_graph();
Graph busy_graph(std::int64_t turns);
// Compiles it: the program's handle. Throws Refused.
mlring_handle compile(RawQueue& queue, RawArena& arena, const Graph& graph);
mlring_descriptor execute(RawArena& arena, mlring_handle program, const std::vector<mlring_argument>& arguments);
// Compiles add_one, runs it on three numbers and checks what comes out: a session that works, through the kernel module
// if that was agreed upon.
void compute_something(RawSession& session);

}  // namespace ml::test
