#include "libmlclient/tensor/evaluate.h"

#include <algorithm>
#include <cstring>

#include "engine/graph/binary.h"
#include "libmlclient/session/execution.h"
#include "libmlclient/tensor/expression.h"

namespace ml::client {
namespace {

std::uint64_t bytes_of(const TensorType& type) {
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(type.shape.elements()), dtype_size(type.dtype), &bytes)) {
    throw Error(Code::out_of_memory, "a tensor of shape " + type.shape.str() + " does not fit into memory");
  }
  return bytes;
}

std::shared_ptr<Program> program_for(const std::shared_ptr<SessionCore>& session,
                                     const std::shared_ptr<Connection>& connection, const Structure& structure) {
  if (std::shared_ptr<Program> program = connection->programs().find(structure)) {
    ++session->programs_reused;
    return program;
  }
  std::shared_ptr<Program> program = compile(session, connection, to_graph(structure));
  connection->programs().insert(structure, program);
  return program;
}

// Turns a recorded value into a stored one; the history comes back, to be dropped without the lock.
std::shared_ptr<Call> publish(TensorValue& value, std::shared_ptr<Storage> storage) {
  if (value.kind.load(std::memory_order_relaxed) != ValueKind::recorded) return nullptr;  // another thread was first
  value.version = storage->version();
  value.storage = std::move(storage);
  value.kind.store(ValueKind::stored, std::memory_order_release);
  return std::move(value.call);
}

// A detached value whose origin has been evaluated becomes what its origin is.
bool settle(TensorValue& value, std::vector<std::shared_ptr<Call>>& history) {
  const TensorValuePtr origin = resolve(value.call->inputs.front());
  const ValueKind kind = origin->kind.load(std::memory_order_relaxed);
  if (kind == ValueKind::recorded) return false;
  check_readable(*origin);
  value.scalar = origin->scalar;
  value.storage = origin->storage;
  value.version = origin->version;
  value.kind.store(kind, std::memory_order_release);
  history.push_back(std::move(value.call));
  return true;
}

// The values among `tensors` that must be computed, each once. Hold the mutex.
std::vector<TensorValuePtr> to_compute(std::span<const Tensor> tensors, std::vector<std::shared_ptr<Call>>& history) {
  std::vector<TensorValuePtr> values;
  const std::uint64_t epoch = next_epoch();
  for (const Tensor& tensor : tensors) {
    const TensorValuePtr& value = need(tensor, "eval");
    if (value->kind.load(std::memory_order_relaxed) != ValueKind::recorded || value->epoch == epoch) continue;
    if (value->call->op == nullptr && settle(*value, history)) continue;
    value->epoch = epoch;
    values.push_back(value);
  }
  return values;
}

}  // namespace

std::shared_ptr<Pending> start_evaluation(std::span<const Tensor> tensors) {
  std::vector<std::shared_ptr<Call>> history;  // let go of without the lock
  std::vector<TensorValuePtr> values;
  Expression expression;
  {
    const std::lock_guard lock(recording_mutex());
    values = to_compute(tensors, history);
    if (values.empty()) return nullptr;
    expression = walk(values);
  }
  const std::shared_ptr<SessionCore> session = SessionCore::current();
  const std::shared_ptr<Connection> connection = session->connection();
  const std::shared_ptr<Program> program = program_for(session, connection, expression.structure);
  const std::size_t leaves = expression.leaves.size();
  Execution execution(session, connection, program, leaves + values.size(), leaves * 8);
  for (std::size_t i = 0; i < leaves; ++i) execution.bind_value(i, expression.leaves[i], i * 8);
  std::vector<std::shared_ptr<Storage>> storages;
  for (std::size_t i = 0; i < values.size(); ++i) {
    storages.push_back(Storage::in_arena(session, bytes_of(values[i]->type)));
    execution.bind(leaves + i, MLRING_OUT, values[i]->type, storages.back());
  }
  // Only now: a storage and what fills it own each other until that is done, and nothing above may throw in between.
  for (const std::shared_ptr<Storage>& storage : storages) storage->set_pending(execution.pending());
  std::shared_ptr<Pending> pending = execution.submit_once();
  const std::lock_guard lock(recording_mutex());
  for (std::size_t i = 0; i < values.size(); ++i) history.push_back(publish(*values[i], std::move(storages[i])));
  return pending;
}

void evaluate(std::span<const Tensor> tensors) {
  start_evaluation(tensors);
  for (const Tensor& tensor : tensors) {
    const TensorValue& value = *tensor.value();
    if (value.kind.load(std::memory_order_acquire) == ValueKind::stored) value.storage->wait();
  }
}

std::shared_ptr<Program> compile(const std::shared_ptr<SessionCore>& session,
                                 const std::shared_ptr<Connection>& connection, const Graph& graph,
                                 std::span<const PlacedBlob> placed) {
  const BinaryGraph binary = serialize(graph);
  const std::size_t count = 1 + binary.blobs.size();
  const auto table = Storage::in_arena(session, count * sizeof(mlring_argument));
  auto* const arguments = reinterpret_cast<mlring_argument*>(table->host());
  std::vector<std::shared_ptr<Storage>> copies;
  const auto name = [&](std::size_t i, std::span<const std::byte> bytes, const Blob* blob) {
    describe(arguments[i], MLRING_IN, {DType::u8, {static_cast<std::int64_t>(bytes.size())}});
    const auto place = std::ranges::find(placed, blob, &PlacedBlob::blob);
    if (blob != nullptr && place != placed.end()) {
      arguments[i].arena = place->arena;
      arguments[i].offset = place->offset;
      arguments[i].capacity = bytes.size();
      return;
    }
    copies.push_back(Storage::in_arena(session, bytes.size()));
    if (!bytes.empty()) std::memcpy(copies.back()->host(), bytes.data(), bytes.size());
    copies.back()->name_in(arguments[i], *connection);
  };
  name(0, binary.bytes, nullptr);
  for (std::size_t i = 0; i < binary.blobs.size(); ++i) name(i + 1, binary.blobs[i]->bytes(), binary.blobs[i].get());
  mlring_argument where{};
  table->name_in(where, *connection);
  mlring_descriptor descriptor{};
  descriptor.opcode = MLRING_OP_COMPILE;
  descriptor.argument_arena = where.arena;
  descriptor.argument_offset = where.offset;
  descriptor.argument_count = static_cast<std::uint32_t>(count);
  const std::shared_ptr<Pending> pending = connection->run(descriptor);
  session->programs_compiled.fetch_add(1, std::memory_order_relaxed);
  return std::make_shared<Program>(connection, pending->result);
}

void materialize(const TensorValuePtr& value) {
  const Tensor tensor(value);
  if (value->kind.load(std::memory_order_acquire) == ValueKind::recorded) start_evaluation({&tensor, 1});
  check_readable(*value);
  if (value->kind == ValueKind::stored) {
    SessionCore::check_process();
    value->storage->wait();
  }
}

std::shared_ptr<Storage> host_storage(const TensorValuePtr& value) {
  if (value->storage->in_arena()) return value->storage;
  const std::shared_ptr<SessionCore>& session = value->storage->session();
  auto storage = Storage::in_arena(session, value->storage->bytes());
  session->copy(storage, value->storage);
  return storage;
}

Tensor new_host_tensor(const TensorType& type, std::byte** host) {
  auto storage = Storage::in_arena(SessionCore::current(), bytes_of(type));
  *host = storage->host();
  return make_stored(type, std::move(storage));
}

}  // namespace ml::client
