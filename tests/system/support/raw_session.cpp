#include "tests/system/support/raw_session.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace ml::test {
namespace {

using transport::Packet;
using transport::Received;

protocol::Header header_of(protocol::Kind kind) { return {.kind = static_cast<std::uint32_t>(kind)}; }
bool is(const Packet& packet, protocol::Kind kind) { return packet.kind() == static_cast<std::uint32_t>(kind); }

void copy_name(char (&to)[protocol::kMaxName], const std::string& name) {
  if (name.size() >= sizeof to) throw std::runtime_error("a name of " + std::to_string(name.size()) + " bytes");
  std::ranges::copy(name, to);
}

}  // namespace

RawSession::RawSession(const std::string& socket_path, const std::optional<HelloOptions>& options)
    : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) throw std::runtime_error(socket_path + " is too long");
  std::ranges::copy(socket_path, address.sun_path);
  if (!socket_ || connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw std::system_error(errno, std::generic_category(), socket_path);
  if (options) hello(*options);
}

void RawSession::hello(const HelloOptions& options) {
  protocol::Hello message{};
  message.header = header_of(protocol::Kind::hello);
  message.magic = options.magic;
  message.oldest_version = options.oldest;
  message.newest_version = options.newest;
  message.purpose = static_cast<std::uint32_t>(options.purpose);
  message.features = options.features;
  copy_name(message.device, options.device);
  copy_name(message.client, options.client);
  const Packet packet = request(message);
  const auto* const welcome = packet.as<protocol::Welcome>();
  if (!is(packet, protocol::Kind::welcome) || welcome == nullptr)
    throw std::runtime_error("HELLO was answered by message " + std::to_string(packet.kind()));
  welcome_ = *welcome;
  fingerprint_ = packet.text();
}

void RawSession::throw_send_error() {
  if (errno == EPIPE || errno == ECONNRESET) throw HungUp();
  throw std::system_error(errno, std::generic_category(), "sending to mld");
}

Packet RawSession::receive(const Deadline& deadline) {
  if (!readable(socket_.get(), Milliseconds(deadline.left_ms()))) throw std::runtime_error("mld does not answer");
  Packet packet;
  switch (transport::receive_packet(socket_.get(), protocol::kMaxPacket, packet)) {
    case Received::packet: return packet;
    case Received::closed: throw HungUp();
    case Received::nothing:
    case Received::malformed: break;
  }
  throw std::runtime_error("mld sent a malformed packet");
}

Packet RawSession::answer(std::uint64_t request, Milliseconds within) {
  for (const Deadline deadline(within);;) {
    Packet packet;
    const auto kept = std::ranges::find_if(kept_, [&](const Packet& p) { return p.request() == request; });
    if (kept != kept_.end()) {
      packet = std::move(*kept);
      kept_.erase(kept);
    } else {
      packet = receive(deadline);
      if (packet.request() != request && !(is(packet, protocol::Kind::error) && packet.request() == 0)) {
        kept_.push_back(std::move(packet));
        continue;
      }
    }
    if (is(packet, protocol::Kind::error)) {
      const auto* const failed = packet.as<protocol::Failed>();
      throw Refused(failed == nullptr ? 0 : failed->status, std::string(packet.text()));
    }
    return packet;
  }
}

Packet RawSession::unasked(protocol::Kind kind, Milliseconds within) {
  const auto wanted = [&](const Packet& packet) { return is(packet, kind) && packet.request() == 0; };
  const auto kept = std::ranges::find_if(kept_, wanted);
  if (kept != kept_.end()) {
    Packet packet = std::move(*kept);
    kept_.erase(kept);
    return packet;
  }
  for (const Deadline deadline(within);;) {
    Packet packet = receive(deadline);
    if (wanted(packet)) return packet;
    kept_.push_back(std::move(packet));
  }
}

bool RawSession::hung_up(Milliseconds within) {
  try {
    for (const Deadline deadline(within);;) kept_.push_back(receive(deadline));
  } catch (const HungUp&) {
    return true;
  } catch (const std::runtime_error&) {
    return false;
  }
}

std::unique_ptr<RawQueue> RawSession::open_queue(std::uint32_t depth, std::int32_t priority) {
  protocol::OpenQueue message{};
  message.header = header_of(protocol::Kind::open_queue);
  message.depth = depth;
  message.priority = priority;
  return std::make_unique<RawQueue>(request(message));
}

std::unique_ptr<RawArena> RawSession::add_arena(std::uint64_t bytes) {
  transport::UniqueFd memory = make_memory({.bytes = bytes});
  protocol::AddArena message{};
  message.header = header_of(protocol::Kind::add_arena);
  message.bytes = bytes;
  const Packet packet = request(message, {}, {memory.get()});
  const auto* const added = packet.as<protocol::ArenaAdded>();
  if (!is(packet, protocol::Kind::arena) || added == nullptr)
    throw std::runtime_error("ADD_ARENA was answered by message " + std::to_string(packet.kind()));
  return std::make_unique<RawArena>(std::move(memory), bytes, added->arena);
}

std::shared_ptr<transport::KernelNode> RawSession::node() {
  if (!node_) node_ = std::make_shared<transport::KernelNode>(welcome_.minor);
  return node_;
}

std::unique_ptr<RawQueue> RawSession::open_kernel_queue(std::uint32_t depth, std::uint64_t timeout_ns) {
  transport::UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  transport::NodeQueue queue = node()->make_queue(depth, wake.get(), timeout_ns);
  protocol::OpenKernelQueue message{};
  message.header = header_of(protocol::Kind::open_kernel_queue);
  message.depth = depth;
  const Packet packet = request(message, {}, {queue.fd.get()});
  return std::make_unique<RawQueue>(node(), std::move(queue), std::move(wake), packet);
}

std::unique_ptr<RawArena> RawSession::add_kernel_arena(std::uint64_t bytes) {
  transport::HostMemory memory = node()->make_memory(bytes);
  if (memory.base == nullptr) throw std::runtime_error("the device is gone");
  munmap(memory.base, bytes);  // RawArena maps it itself
  protocol::AddArena message{};
  message.header = header_of(protocol::Kind::add_kernel_arena);
  message.bytes = bytes;
  const Packet packet = request(message, {}, {memory.fd.get()});
  const auto* const added = packet.as<protocol::ArenaAdded>();
  if (!is(packet, protocol::Kind::arena) || added == nullptr)
    throw std::runtime_error("ADD_KERNEL_ARENA was answered by message " + std::to_string(packet.kind()));
  return std::make_unique<RawArena>(std::move(memory.fd), bytes, added->arena);
}

}  // namespace ml::test
