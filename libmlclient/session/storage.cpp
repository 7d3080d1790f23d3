#include "libmlclient/session/storage.h"

#include "libmlclient/session/connection.h"
#include "libmlclient/session/session_core.h"

namespace ml::client {

std::shared_ptr<Storage> Storage::in_arena(std::shared_ptr<SessionCore> session, std::uint64_t bytes) {
  std::shared_ptr<Storage> storage(new Storage(std::move(session), bytes));
  storage->region_ = storage->session_->arenas().allocate(bytes);
  return storage;
}

std::shared_ptr<Storage> Storage::on_device(std::shared_ptr<SessionCore> session,
                                            std::shared_ptr<Connection> connection, std::uint64_t bytes) {
  std::shared_ptr<Storage> storage(new Storage(std::move(session), bytes));
  mlring_descriptor descriptor{};
  descriptor.opcode = MLRING_OP_ALLOC;
  descriptor.operand = bytes;
  storage->handle_ = connection->run(descriptor)->result;
  storage->connection_ = std::move(connection);
  return storage;
}

Storage::~Storage() {
  if (SessionCore::in_forked_child()) return;  // neither the arenas nor the worker came along
  if (in_arena()) {
    ArenaPool& arenas = session_->arenas();
    forsaken_.load(std::memory_order_relaxed) ? arenas.forsake(region_) : arenas.release(region_);
  } else if (connection_) {
    connection_->free_later(handle_);
  }
}

bool Storage::lost() const { return connection_ && connection_->lost(); }

void Storage::name_in(mlring_argument& argument, Connection& connection) const {
  if (in_arena()) {
    argument.arena = region_.arena->id_in(connection);
    argument.offset = region_.offset;
  } else {
    if (connection_.get() != &connection) connection_->throw_lost();
    argument.handle = handle_;
  }
  argument.capacity = bytes_;
}

std::shared_ptr<Pending> Storage::pending() const {
  const std::lock_guard lock(mutex_);
  return pending_;
}

void Storage::set_pending(std::shared_ptr<Pending> pending) {
  const std::lock_guard lock(mutex_);
  pending_ = std::move(pending);
}

void Storage::wait() const {
  const std::shared_ptr<Pending> pending = this->pending();
  if (!pending) return;
  SessionCore::check_process();
  pending->wait();
  pending->check();
  const std::lock_guard lock(mutex_);
  if (pending_ == pending) pending_ = nullptr;
}

}  // namespace ml::client
