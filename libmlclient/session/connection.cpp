#include "libmlclient/session/connection.h"

#include "libmlclient/session/session_core.h"

namespace ml::client {

namespace {

const char* what_to_do(const transport::Transport& transport) {
  return transport.comes_back() ? "compute it again: the next use connects to the device again"
                                : "this session can't be opened again: start the program anew";
}

}  // namespace

Connection::Connection(std::unique_ptr<transport::Transport> transport, std::uint32_t generation)
    : transport_(std::move(transport)), generation_(generation), queue_(transport_->ring(), what_to_do(*transport_)) {}

Connection::~Connection() {
  // The mappings did not come along into a forked child, and the worker is its parent's.
  if (SessionCore::in_forked_child()) (void)transport_.release();
}

void Connection::end() {
  queue_.end();
  transport_->hang_up();
}

void Connection::throw_lost() const {
  throw Error(Code::device_lost, "the device '" + transport_->device() + "' was lost, and with it what it held", {},
              what_to_do(*transport_));
}

void Connection::submit(const std::shared_ptr<Pending>& pending, const mlring_descriptor& descriptor) {
  if (any_to_free_.load(std::memory_order_acquire)) submit_frees();
  queue_.submit(pending, descriptor);
}

std::shared_ptr<Pending> Connection::run(const mlring_descriptor& descriptor) {
  auto pending = std::make_shared<Pending>(weak_from_this());
  submit(pending, descriptor);
  queue_.wait(*pending);
  pending->check();
  return pending;
}

void Connection::free_later(mlring_handle handle) noexcept {
  const std::lock_guard lock(freeing_);
  to_free_.push_back(handle);
  any_to_free_.store(true, std::memory_order_release);
}

void Connection::submit_frees() {
  std::vector<mlring_handle> handles;
  {
    const std::lock_guard lock(freeing_);
    handles.swap(to_free_);
    any_to_free_.store(false, std::memory_order_release);
  }
  for (const mlring_handle handle : handles) {
    mlring_descriptor descriptor{};
    descriptor.opcode = MLRING_OP_FREE;
    descriptor.handle = handle;
    queue_.submit(std::make_shared<Pending>(weak_from_this()), descriptor);
  }
}

}  // namespace ml::client
