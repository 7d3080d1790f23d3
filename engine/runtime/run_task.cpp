// The work of executors.
#include <algorithm>
#include <cstring>

#include "engine/runtime/arguments.h"
#include "engine/runtime/clock.h"
#include "engine/runtime/memory_planner.h"
#include "engine/runtime/run_task.h"
#include "engine/runtime/status.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

void report_stopped(Task& task) {
  switch (task.progress.state()) {
    case Progress::expired: task.fail(MLRING_TIMEOUT, "the deadline passed while it ran"); break;
    case Progress::aborted: task.fail(MLRING_CANCELLED, "its queue ended"); break;
    default: task.fail(MLRING_CANCELLED, "cancelled"); break;
  }
}

// Where the plan finds its operands: in the client's memory where the device sees it, otherwise in staging memory that
// is filled before and copied back afterwards.
void place_operands(Call& call, StreamContext& context) {
  const std::size_t inputs = call.plan->inputs().size();
  std::size_t staged = 0;
  const auto place = [&staged](const Argument& argument) {
    BufferSpan span = argument.span();
    if (span.buffer == nullptr) {
      span.offset = staged;
      staged += align_memory(argument.bytes);
    }
    return span;
  };
  call.inputs.clear();
  call.outputs.clear();
  for (std::size_t i = 0; i < call.arguments.size(); ++i) {
    const Argument& argument = call.arguments[i];
    if (i < inputs)
      call.inputs.push_back(place(argument));
    else if (argument.record.direction == MLRING_INOUT)
      call.outputs.push_back(call.inputs[call.program->donated_from(i - inputs)]);
    else
      call.outputs.push_back(place(argument));
  }
  const BufferSpan staging = staged != 0 ? context.staging(staged) : BufferSpan{};
  for (std::vector<BufferSpan>* spans : {&call.inputs, &call.outputs}) {
    for (BufferSpan& span : *spans) {
      if (span.buffer == nullptr) span.buffer = staging.buffer;
    }
  }
}

bool is_staged(const Argument& argument) { return argument.span().buffer == nullptr && argument.bytes != 0; }

void upload_inputs(const Call& call, Stream& stream) {
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    if (is_staged(call.arguments[i])) stream.upload(call.inputs[i], call.arguments[i].host());
  }
}

void download_outputs(const Call& call, StreamContext& context) {
  const std::span<const Argument> outputs = std::span(call.arguments).subspan(call.inputs.size());
  // Donated state comes back to where it is being uploaded from: that must be over first.
  const auto returns = [](const Argument& a) { return is_staged(a) && a.record.direction == MLRING_INOUT; };
  if (std::ranges::any_of(outputs, returns)) context.synchronize();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (is_staged(outputs[i])) context.stream().download(outputs[i].host(), call.outputs[i]);
  }
}

// Outputs are in the client's memory or on their way there; how large they are shows while the plan runs.
class ArgumentRoom final : public OutputRoom {
 public:
  explicit ArgumentRoom(Task& task) : task_(task) {}
  BufferSpan room_for(std::size_t output, const TensorType& type) override {
    Call& call = *task_.call;
    call.outputs_made[output] = type;
    if (!check_capacity(task_, call.inputs.size() + output, type)) throw Error(Code::too_small, task_.message);
    BufferSpan span = call.outputs[output];
    span.size = call.arguments[call.inputs.size() + output].bytes;
    call.outputs[output] = span;
    return span;
  }

 private:
  Task& task_;
};

void execute(Task& task, StreamContext& context) {
  Call& call = *task.call;
  if (!check_overlaps(task, call.plan->inputs().size())) return;
  place_operands(call, context);
  upload_inputs(call, context.stream());
  ArgumentRoom room(task);
  const bool ran = call.plan->run(context, call.inputs, call.outputs, &room, &task.progress);
  if (ran) download_outputs(call, context);
  context.synchronize();
  const bool bad_index = context.stream().take_index_error();
  if (!ran || !task.progress.commit()) return report_stopped(task);
  if (bad_index) {
    std::string what = "an index held by a tensor is out of range";
    what += MLRING_MESSAGE_PART;
    what += MLRING_MESSAGE_PART;
    what += "check class labels, and the indices given to take, gather, scatter and embedding";
    return task.fail(MLRING_OUT_OF_RANGE, what);
  }
  for (const Argument& argument : call.arguments) task.bytes += argument.bytes;
}

void copy(Task& task, StreamContext& context) {
  const Argument& from = task.call->arguments[0];
  const Argument& to = task.call->arguments[1];
  if (!check_overlaps(task, 1)) return;
  if (!task.progress.commit()) return report_stopped(task);
  task.bytes = 2 * from.bytes;
  if (from.bytes == 0) return;
  const bool from_host = from.span().buffer == nullptr, to_host = to.span().buffer == nullptr;
  Stream& stream = context.stream();
  if (from_host && to_host)
    std::memcpy(to.host(), from.host(), from.bytes);
  else if (from_host)
    stream.upload(to.span(), from.host());
  else if (to_host)
    stream.download(to.host(), from.span());
  else
    stream.copy(to.span(), from.span());
  context.synchronize();
}

void allocate(Task& task, StreamContext& context) {
  if (!task.progress.commit()) return report_stopped(task);
  const std::uint64_t bytes = task.descriptor.operand;
  task.made_memory = std::make_shared<Memory>(Memory{context.device().allocate(bytes), bytes});
}

void run_operation(Task& task, StreamContext& context) {
  if (task.progress.stopped()) return report_stopped(task);
  switch (task.descriptor.opcode) {
    case MLRING_OP_EXECUTE: return execute(task, context);
    case MLRING_OP_COPY: return copy(task, context);
    case MLRING_OP_ALLOC: return allocate(task, context);
    case MLRING_OP_FREE: task.call->freed = {}; return;
    default: task.fail(MLRING_INTERNAL, "an executor can't run this opcode");
  }
}

}  // namespace

void run_task(Task& task, StreamContext& context) {
  task.started = monotonic_now();
  try {
    run_operation(task, context);
  } catch (...) {
    Failure failure = describe_failure(std::current_exception());
    context.synchronize();
    context.stream().take_index_error();
    task.status = failure.status;
    task.message = std::move(failure.message);
  }
  task.ended = monotonic_now();
}

}  // namespace ml::runtime
