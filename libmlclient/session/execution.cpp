#include "libmlclient/session/execution.h"

#include <cstring>

namespace ml::client {

void describe(mlring_argument& argument, std::uint32_t direction, const TensorType& type) {
  argument = {};
  argument.direction = direction;
  argument.dtype = static_cast<std::uint32_t>(type.dtype);
  argument.rank = static_cast<std::uint32_t>(type.shape.rank());
  for (int i = 0; i < type.shape.rank(); ++i) argument.dims[i] = static_cast<std::uint64_t>(type.shape[i]);
}

Execution::Execution(std::shared_ptr<SessionCore> session, std::shared_ptr<Connection> connection,
                     std::shared_ptr<Program> program, std::size_t arguments, std::size_t small_bytes)
    : session_(std::move(session)),
      connection_(std::move(connection)),
      program_(std::move(program)),
      small_at_(arguments * sizeof(mlring_argument)),
      pending_(std::make_shared<Pending>(connection_)) {
  if (arguments > MLRING_ARGUMENTS_MAX) {
    throw Error(Code::unsupported,
                "an expression of " + std::to_string(arguments) + " inputs and results: a program has at most " +
                    std::to_string(MLRING_ARGUMENTS_MAX),
                {}, "call eval() on parts of it first: every tensor and every number in it counts");
  }
  table_ = Storage::in_arena(session_, small_at_ + small_bytes);
  std::memset(table_->host(), 0, small_at_ + small_bytes);
  mlring_argument where{};
  table_->name_in(where, *connection_);
  descriptor_.opcode = MLRING_OP_EXECUTE;
  descriptor_.handle = program_->handle();
  descriptor_.argument_arena = where.arena;
  descriptor_.argument_offset = where.offset;
  descriptor_.argument_count = static_cast<std::uint32_t>(arguments);
  pending_->uses.reserve(arguments + 1);
  pending_->uses.push_back(table_);
}

void Execution::bind(std::size_t i, std::uint32_t direction, const TensorType& type,
                     const std::shared_ptr<Storage>& storage) {
  describe(argument(i), direction, type);
  storage->name_in(argument(i), *connection_);
  if (const auto before = storage->pending(); before && !before->done) after_ = true;
  pending_->uses.push_back(storage);
}

void Execution::rebind(std::size_t i, const std::shared_ptr<Storage>& storage, const TensorType& type) {
  describe(argument(i), MLRING_IN, type);
  storage->name_in(argument(i), *connection_);
}

void Execution::bind_small(std::size_t i, std::uint32_t direction, const TensorType& type, std::size_t offset) {
  describe(argument(i), direction, type);
  table_->name_in(argument(i), *connection_);
  argument(i).offset += small_at_ + offset;
  argument(i).capacity = static_cast<std::uint64_t>(type.shape.elements()) * dtype_size(type.dtype);
}

void Execution::bind_value(std::size_t i, const TensorValuePtr& value, std::size_t offset) {
  check_readable(*value);
  if (value->kind == ValueKind::scalar) {
    std::memcpy(small(offset), value->scalar.data(), 8);
    bind_small(i, MLRING_IN, value->type, offset);
  } else {
    bind(i, MLRING_IN, value->type, value->storage);
  }
}

TensorType Execution::actual_type(std::size_t i) const {
  const mlring_argument record = argument(i);  // a copy: the worker may still write there
  if (record.rank > MLRING_RANK_MAX || !is_dtype(record.dtype))
    throw Error(Code::internal, "the worker answered a result of rank " + std::to_string(record.rank));
  TensorType type{static_cast<DType>(record.dtype), {}};
  for (std::uint32_t d = 0; d < record.rank; ++d) type.shape.append(static_cast<std::int64_t>(record.dims[d]));
  const auto elements = static_cast<std::uint64_t>(type.shape.elements());
  if (elements > record.capacity / dtype_size(type.dtype))
    throw Error(Code::internal, "the worker answered a result " + type.shape.str() + " larger than its memory");
  return type;
}

void Execution::submit() {
  descriptor_.flags = after_ ? MLRING_AFTER : 0;
  connection_->submit(pending_, descriptor_);
  session_->executions.fetch_add(1, std::memory_order_relaxed);
}

const std::shared_ptr<Pending>& Execution::submit_once() {
  submit();
  return pending_;
}

void Execution::submit_again() {
  pending_->prepared = true;
  submit();
  after_ = false;
}

bool Execution::poll() {
  if (under_way()) connection_->queue().poll();
  return !under_way();
}

void Execution::wait() {
  connection_->queue().wait(*pending_);
  pending_->check();
}

}  // namespace ml::client
