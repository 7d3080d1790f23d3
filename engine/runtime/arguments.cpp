#include "engine/runtime/arguments.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>

namespace ml::runtime {
namespace {

bool refuse(Task& task, std::int32_t status, std::size_t index, std::string_view why) {
  task.fail(status, "argument " + std::to_string(index) + ": " + std::string(why));
  return false;
}

std::string text_of(std::uint32_t dtype, const Shape& shape) {
  return std::string(dtype_name(static_cast<DType>(dtype))) + shape.str();
}

Shape shape_of(const mlring_argument& record) {
  Shape shape;
  for (std::uint32_t i = 0; i < record.rank; ++i) shape.append(static_cast<std::int64_t>(record.dims[i]));
  return shape;
}

bool find_place(Task& task, Session& session, std::size_t index, Argument& argument) {
  const mlring_argument& record = argument.record;
  std::uint64_t size = 0;
  if (record.arena != 0) {
    Arena* arena = session.arenas.find(record.arena);
    if (arena == nullptr)
      return refuse(task, MLRING_NOT_FOUND, index, "there is no arena " + std::to_string(record.arena));
    if (arena->file && record.direction != MLRING_IN)
      return refuse(task, MLRING_INVALID_ARGUMENT, index, "its arena is a file, which may only be read");
    size = arena->bytes;
    if (mlring_range_ok(record.offset, record.capacity, size)) {
      ++arena->uses;
      argument.arena = arena;
      return true;
    }
  } else {
    const Object* object = session.handles.find(record.handle);
    if (object == nullptr || !object->memory)
      return refuse(task, MLRING_NOT_FOUND, index, "its handle names no memory, or no longer");
    size = object->memory->bytes;
    if (mlring_range_ok(record.offset, record.capacity, size)) {
      task.call->memories.push_back(object->memory);
      argument.memory = object->memory.get();
      return true;
    }
  }
  return refuse(task, MLRING_INVALID_ARGUMENT, index,
                "bytes [" + std::to_string(record.offset) + ", +" + std::to_string(record.capacity) +
                    ") lie outside of its " + std::to_string(size) + " bytes");
}

bool same_place(const mlring_argument& a, const mlring_argument& b) {
  return a.arena == b.arena && a.handle.index == b.handle.index && a.handle.generation == b.handle.generation &&
         a.offset == b.offset;
}

std::uint64_t bytes_of(const TensorType& type) {
  return static_cast<std::uint64_t>(type.shape.elements()) * dtype_size(type.dtype);
}

}  // namespace

bool take_arguments(Task& task, Session& session) {
  const mlring_descriptor& descriptor = task.descriptor;
  if (descriptor.argument_count == 0) return true;
  Call& call = *task.call;
  Arena* arena = session.arenas.find(descriptor.argument_arena);
  if (arena == nullptr || !mlring_table_ok(&descriptor, arena->bytes)) {
    task.fail(arena == nullptr ? MLRING_NOT_FOUND : MLRING_INVALID_ARGUMENT,
              arena == nullptr ? "there is no arena for the argument table" : "the argument table leaves its arena");
    return false;
  }
  if (arena->file) {
    task.fail(MLRING_INVALID_ARGUMENT, "the argument table is in a file, which may only be read");
    return false;
  }
  ++arena->uses;
  call.table_arena = arena;
  call.table = reinterpret_cast<mlring_argument*>(arena->base + descriptor.argument_offset);
  call.arguments.resize(descriptor.argument_count);
  for (std::size_t i = 0; i < call.arguments.size(); ++i) {
    Argument& argument = call.arguments[i];
    argument = {};
    mlring_copy_in(&argument.record, &call.table[i], sizeof(argument.record));
    if (const std::uint32_t refusal = mlring_check_argument(&argument.record); refusal != 0)
      return refuse(task, MLRING_INVALID_ARGUMENT, i, mlring_refusal_text(refusal));
    if (!find_place(task, session, i, argument)) return false;
    if (argument.record.direction != MLRING_OUT)
      mlring_tensor_bytes(argument.record.dtype, argument.record.rank, argument.record.dims, &argument.bytes);
  }
  return true;
}

bool match_program(Task& task, const Program& program) {
  const std::span<Argument> arguments(task.call->arguments);
  const std::size_t inputs = program.inputs().size(), outputs = program.outputs().size();
  if (arguments.size() != inputs + outputs) {
    task.fail(MLRING_INVALID_ARGUMENT, "the program takes " + std::to_string(inputs) + " inputs and " +
                                           std::to_string(outputs) + " outputs, not " +
                                           std::to_string(arguments.size()) + " arguments");
    return false;
  }
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const mlring_argument& record = arguments[i].record;
    const bool is_input = i < inputs;
    const TensorType& type = is_input ? program.inputs()[i] : program.outputs()[i - inputs];
    const std::uint32_t pair = is_input ? program.donated_to(i) : program.donated_from(i - inputs);
    const bool donated = pair != Program::kNotDonated;
    const std::uint32_t direction = donated ? MLRING_INOUT : is_input ? MLRING_IN : MLRING_OUT;
    if (record.direction != direction) {
      return refuse(task, MLRING_INVALID_ARGUMENT, i,
                    donated    ? "it is donated state and must say INOUT"
                    : is_input ? "it is an input and must say IN"
                               : "it is an output and must say OUT");
    }
    if (record.dtype != static_cast<std::uint32_t>(type.dtype)) {
      return refuse(task, MLRING_INVALID_ARGUMENT, i,
                    "it is " + std::string(dtype_name(static_cast<DType>(record.dtype))) + ", the program wants " +
                        std::string(dtype_name(type.dtype)));
    }
    if (!is_input) {
      if (donated && !same_place(record, arguments[pair].record))
        return refuse(task, MLRING_INVALID_ARGUMENT, i, "it must name the memory of the donated input it replaces");
      continue;
    }
    bool fits = record.rank == static_cast<std::uint32_t>(type.shape.rank());
    for (int axis = 0; fits && axis < type.shape.rank(); ++axis) {
      fits = type.shape[axis] == kUnknown || record.dims[axis] == static_cast<std::uint64_t>(type.shape[axis]);
    }
    if (!fits) {
      return refuse(task, MLRING_INVALID_ARGUMENT, i,
                    "it is " + text_of(record.dtype, shape_of(record)) + ", the program wants " +
                        text_of(record.dtype, type.shape));
    }
  }
  return true;
}

bool check_capacity(Task& task, std::size_t index, const TensorType& type) {
  Argument& argument = task.call->arguments[index];
  argument.bytes = bytes_of(type);
  if (argument.bytes <= argument.record.capacity) return true;
  return refuse(task, MLRING_TOO_SMALL, index,
                "output " + text_of(argument.record.dtype, type.shape) + " needs " + std::to_string(argument.bytes) +
                    " bytes, its capacity is " + std::to_string(argument.record.capacity));
}

bool check_capacities(Task& task, const StagedPlan& plan) {
  Call& call = *task.call;
  const std::size_t inputs = plan.inputs().size();
  if (!plan.known()) call.outputs_made.assign(plan.outputs().begin(), plan.outputs().end());
  bool all = true;
  for (std::size_t i = plan.outputs().size(); i-- > 0;) {  // the message is about the first
    Argument& argument = call.arguments[inputs + i];
    if (plan.outputs()[i].shape.known())
      all = check_capacity(task, inputs + i, plan.outputs()[i]) && all;
    else
      argument.bytes = argument.record.capacity;
  }
  if (!all) answer_outputs(call, plan.outputs());
  return all;
}

void answer_outputs(const Call& call, std::span<const TensorType> outputs) {
  const std::size_t inputs = call.arguments.size() - outputs.size();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Shape& shape = outputs[i].shape;
    if (!shape.known()) continue;
    std::uint64_t dims[MLRING_RANK_MAX] = {};
    for (int axis = 0; axis < shape.rank(); ++axis) dims[axis] = static_cast<std::uint64_t>(shape[axis]);
    mlring_answer_argument(&call.table[inputs + i], static_cast<std::uint32_t>(shape.rank()), dims,
                           bytes_of(outputs[i]));
  }
}

bool check_overlaps(Task& task, std::size_t inputs) {
  Call& call = *task.call;
  // Arenas are compared by address, as two of them may be the same memory; memory behind handles by its buffer.
  const auto owner = [](const Argument& a) -> const void* { return a.arena != nullptr ? nullptr : a.memory; };
  const auto start = [](const Argument& a) {
    return a.arena != nullptr ? reinterpret_cast<std::uintptr_t>(a.host())
                              : static_cast<std::uintptr_t>(a.record.offset);
  };
  const auto is_pair = [inputs](const Argument& a, std::size_t index) {  // counted once, as the input
    return index >= inputs && a.record.direction == MLRING_INOUT;
  };
  call.order.clear();
  for (std::uint32_t i = 0; i < call.arguments.size(); ++i) {
    if (call.arguments[i].bytes != 0 && !is_pair(call.arguments[i], i)) call.order.push_back(i);
  }
  std::ranges::sort(call.order, [&](std::uint32_t a, std::uint32_t b) {
    const Argument& x = call.arguments[a];
    const Argument& y = call.arguments[b];
    return owner(x) != owner(y) ? std::less<>{}(owner(x), owner(y)) : start(x) < start(y);
  });
  std::uintptr_t reach = 0, written_reach = 0;
  const void* of = nullptr;
  for (const std::uint32_t i : call.order) {
    const Argument& argument = call.arguments[i];
    if (owner(argument) != of) reach = written_reach = 0;
    of = owner(argument);
    const bool written = argument.record.direction != MLRING_IN;
    if (start(argument) < (written ? reach : written_reach))
      return refuse(task, MLRING_INVALID_ARGUMENT, i, "memory that is written overlaps another argument");
    const std::uintptr_t end = start(argument) + argument.bytes;
    reach = std::max(reach, end);
    if (written) written_reach = std::max(written_reach, end);
  }
  return true;
}

bool match_copy(Task& task) {
  Argument& from = task.call->arguments[0];
  Argument& to = task.call->arguments[1];
  if (from.record.direction != MLRING_IN) return refuse(task, MLRING_INVALID_ARGUMENT, 0, "it must say IN");
  if (to.record.direction != MLRING_OUT) return refuse(task, MLRING_INVALID_ARGUMENT, 1, "it must say OUT");
  if (from.record.dtype != to.record.dtype)
    return refuse(task, MLRING_INVALID_ARGUMENT, 1, "its dtype differs from that of argument 0");
  to.bytes = from.bytes;
  if (to.bytes <= to.record.capacity) return true;
  mlring_answer_argument(&task.call->table[1], from.record.rank, from.record.dims, from.bytes);
  return refuse(
      task, MLRING_TOO_SMALL, 1,
      "it needs " + std::to_string(to.bytes) + " bytes, its capacity is " + std::to_string(to.record.capacity));
}

bool match_compile(Task& task, const SessionLimits& limits) {
  const std::span<const Argument> arguments(task.call->arguments);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const mlring_argument& record = arguments[i].record;
    if (record.direction != MLRING_IN || record.dtype != MLRING_U8 || record.rank != 1 || record.arena == 0)
      return refuse(task, MLRING_INVALID_ARGUMENT, i, "COMPILE takes u8 vectors to read, in arenas");
  }
  if (arguments[0].bytes <= limits.graph_bytes) return true;
  return refuse(task, MLRING_NO_SPACE, 0,
                "a graph of " + std::to_string(arguments[0].bytes) + " bytes, at most " +
                    std::to_string(limits.graph_bytes) + " are allowed; put constants into blobs");
}

}  // namespace ml::runtime
