#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <system_error>

#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

void* map(int fd, std::uint64_t bytes, int protection, std::uint64_t offset = 0) {
  void* const at = mmap(nullptr, bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (at == MAP_FAILED) fail("mmap");
  return at;
}

std::uint64_t monotonic_in(Milliseconds within) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec) +
         static_cast<std::uint64_t>(within.count()) * 1'000'000;
}

}  // namespace

transport::UniqueFd make_memory(const MemoryOptions& options) {
  transport::UniqueFd fd(memfd_create("arena", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ftruncate(fd.get(), static_cast<off_t>(options.bytes)) != 0) fail("memfd");
  if (options.seals != 0 && fcntl(fd.get(), F_ADD_SEALS, options.seals) != 0) fail("F_ADD_SEALS");
  return fd;
}

RawQueue::RawQueue(transport::Packet packet) : fds_(std::move(packet.fds)) {
  if (fds_.size() != 5) throw std::runtime_error("the answer to OPEN_QUEUE is not a queue with five fds");
  open(packet);
  pages_[0] = map(fd(0), layout_.submission_bytes, PROT_READ | PROT_WRITE);
  pages_[1] = map(fd(1), layout_.completion_bytes, PROT_READ);
  pages_[2] = map(fd(2), layout_.state_bytes, PROT_READ);
  ring_ = std::make_unique<transport::ClientRing>(
      transport::ClientPages{submission(), completion(), state(), layout_.depth}, fd(3), fd(4));
}

RawQueue::RawQueue(std::shared_ptr<transport::KernelNode> node, transport::NodeQueue queue, transport::UniqueFd wake,
                   const transport::Packet& packet)
    : node_(std::move(node)), of_node_(std::move(queue)) {
  open(packet);
  for (int i = 0; i < 3; ++i) fds_.emplace_back(dup(of_node_.fd.get()));
  fds_.emplace_back();
  fds_.push_back(std::move(wake));
  pages_[0] = map(fd(0), layout_.submission_bytes, PROT_READ | PROT_WRITE, layout_.submission_offset);
  pages_[1] = map(fd(1), layout_.completion_bytes, PROT_READ, layout_.completion_offset);
  pages_[2] = map(fd(2), layout_.state_bytes, PROT_READ, layout_.state_offset);
  ring_ = std::make_unique<transport::ClientRing>(
      transport::ClientPages{submission(), completion(), state(), layout_.depth},
      transport::Doorbell::of_kernel(node_->fd(), of_node_.number), fd(4));
}

void RawQueue::open(const transport::Packet& packet) {
  const auto* const opened = packet.as<protocol::QueueOpened>();
  if (packet.kind() != static_cast<std::uint32_t>(protocol::Kind::queue) || opened == nullptr)
    throw std::runtime_error("a queue was asked for and something else came");
  id_ = opened->queue;
  handle_ = opened->handle;
  if (!mlring_compute_layout(&layout_, opened->depth, static_cast<std::uint32_t>(sysconf(_SC_PAGESIZE))))
    throw std::runtime_error("a queue of impossible depth");
}

RawQueue::~RawQueue() {
  const std::uint64_t bytes[3] = {layout_.submission_bytes, layout_.completion_bytes, layout_.state_bytes};
  for (int i = 0; i < 3; ++i) {
    if (pages_[i] != nullptr) munmap(pages_[i], bytes[i]);
  }
  if (node_) node_->destroy(of_node_);
}

std::span<mlring_descriptor> RawQueue::descriptors() {
  return {reinterpret_cast<mlring_descriptor*>(static_cast<std::byte*>(pages_[0]) + layout_.descriptors),
          layout_.depth};
}

std::uint64_t RawQueue::submit(const mlring_descriptor& descriptor) {
  if (!ring_->submit(descriptor)) throw std::runtime_error("the ring takes no descriptor: full, or no longer active");
  return ring_->next_sequence() - 1;
}

void RawQueue::read_all() {
  transport::Completion completion{};
  std::string message;
  while (ring_->poll(completion, &message)) answers_[completion.sequence] = {completion.entry, message};
}

RawQueue::Answer RawQueue::wait(std::uint64_t sequence, Milliseconds within) {
  const std::uint64_t deadline = monotonic_in(within);
  for (;;) {
    read_all();
    if (const auto found = answers_.find(sequence); found != answers_.end()) {
      Answer answer = std::move(found->second);
      answers_.erase(found);
      return answer;
    }
    if (ring_->wait({.deadline = deadline})) continue;
    read_all();
    if (answers_.contains(sequence)) continue;
    throw std::runtime_error(ring_->state() == transport::RingState::active ? "no completion came in time"
                                                                            : "the queue has ended");
  }
}

transport::RingState RawQueue::ended(Milliseconds within) {
  eventually([&] { return ring_->state() != transport::RingState::active; }, within);
  return ring_->state();
}

RawArena::RawArena(transport::UniqueFd memory, std::uint64_t bytes, std::uint32_t id)
    : memory_(std::move(memory)), bytes_(bytes), id_(id), base_(map(memory_.get(), bytes, PROT_READ | PROT_WRITE)) {}

RawArena::~RawArena() { munmap(base_, bytes_); }

std::uint64_t RawArena::reserve(std::uint64_t bytes) {
  const std::uint64_t offset = used_;
  used_ += (bytes + 63) / 64 * 64;
  if (used_ > bytes_) throw std::runtime_error("the test's arena is full");
  return offset;
}

std::uint64_t RawArena::put(std::span<const std::byte> bytes) {
  const std::uint64_t offset = reserve(bytes.size());
  std::ranges::copy(bytes, at(offset));
  return offset;
}

mlring_argument RawArena::argument(std::uint32_t direction, std::uint32_t dtype,
                                   std::initializer_list<std::uint64_t> dims, std::uint64_t element_bytes) {
  mlring_argument a{};
  a.direction = direction;
  a.dtype = dtype;
  a.arena = id_;
  a.capacity = element_bytes;
  for (const std::uint64_t dim : dims) {
    a.dims[a.rank++] = dim;
    a.capacity *= dim;
  }
  a.offset = reserve(a.capacity);
  return a;
}

mlring_argument RawArena::input(const std::vector<float>& values) {
  const mlring_argument a = argument(MLRING_IN, MLRING_F32, {values.size()}, sizeof(float));
  std::memcpy(at(a.offset), values.data(), a.capacity);
  return a;
}

mlring_argument RawArena::output(std::uint64_t floats) {
  return argument(MLRING_OUT, MLRING_F32, {floats}, sizeof(float));
}

std::vector<float> RawArena::floats(const mlring_argument& argument) {
  std::vector<float> values(argument.capacity / sizeof(float));
  std::memcpy(values.data(), at(argument.offset), argument.capacity);
  return values;
}

mlring_descriptor RawArena::descriptor(std::uint32_t opcode, const std::vector<mlring_argument>& arguments) {
  mlring_descriptor d{};
  d.opcode = opcode;
  d.argument_count = static_cast<std::uint32_t>(arguments.size());
  if (arguments.empty()) return d;
  d.argument_arena = id_;
  d.argument_offset = put(std::as_bytes(std::span(arguments)));
  return d;
}

}  // namespace ml::test
