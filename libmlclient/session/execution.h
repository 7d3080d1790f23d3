// One execution of a program: its argument table and small values, in arena memory.
//
// Made once and submitted again and again it neither allocates nor calls the system (a training step); made for one
// submission it keeps alive what it was bound to until the worker has answered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "libmlclient/session/connection.h"
#include "libmlclient/session/session_core.h"
#include "libmlclient/session/storage.h"
#include "libmlclient/tensor/call.h"

namespace ml::client {

class Execution {
 public:
  // `program` is one of `connection`. small_bytes: room for values that lie beside the table.
  Execution(std::shared_ptr<SessionCore> session, std::shared_ptr<Connection> connection,
            std::shared_ptr<Program> program, std::size_t arguments, std::size_t small_bytes);

  // Argument `i` is a dense tensor in `storage`.
  void bind(std::size_t i, std::uint32_t direction, const TensorType& type, const std::shared_ptr<Storage>& storage);
  // The same for an input that changes from submission to submission; the caller keeps it alive.
  void rebind(std::size_t i, const std::shared_ptr<Storage>& storage, const TensorType& type);
  // Argument `i` lies at `offset` of the small values.
  void bind_small(std::size_t i, std::uint32_t direction, const TensorType& type, std::size_t offset);
  // Argument `i` is the input `value`: stored, or a scalar, which is copied to `offset` of the small values.
  void bind_value(std::size_t i, const TensorValuePtr& value, std::size_t offset);
  std::byte* small(std::size_t offset) const { return table_->host() + small_at_ + offset; }

  // What the worker has written back of result `i`: its actual type, and the bytes that it needs.
  TensorType actual_type(std::size_t i) const;
  std::uint64_t needed_bytes(std::size_t i) const { return argument(i).needed; }

  // Submits it for the only time: what it was bound to is kept alive, and stored results wait for it.
  const std::shared_ptr<Pending>& submit_once();
  // Submits it; the owner keeps alive what it is bound to, and waits before the next time.
  void submit_again();
  void wait();  // throws what went wrong
  bool poll();  // looks, without waiting, whether it is done
  // What it was made of is gone: another one must be made.
  bool lost() const { return connection_->lost(); }
  bool under_way() const { return !pending_->done.load(std::memory_order_acquire); }
  const std::shared_ptr<Pending>& pending() const { return pending_; }

 private:
  mlring_argument& argument(std::size_t i) const { return reinterpret_cast<mlring_argument*>(table_->host())[i]; }
  void submit();

  std::shared_ptr<SessionCore> session_;
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<Program> program_;
  std::size_t small_at_;
  std::shared_ptr<Storage> table_;
  std::shared_ptr<Pending> pending_;
  mlring_descriptor descriptor_{};
  bool after_ = false;
};

// Fills the dtype and shape of an argument record.
void describe(mlring_argument& argument, std::uint32_t direction, const TensorType& type);

}  // namespace ml::client
