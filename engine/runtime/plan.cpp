#include "engine/runtime/plan.h"

#include "engine/runtime/control.h"

namespace ml::runtime {

Plan::~Plan() = default;

std::size_t Plan::step_count() const {
  std::size_t count = 0;
  for (const Segment& segment : segments_) count += segment.steps.size() + (segment.control ? 1 : 0);
  return count;
}

std::string Plan::describe() const {
  std::string text;
  for (const std::string& line : lines_) text += line + "\n";
  return text;
}

BufferSpan Plan::resolve(const Place& place, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
                         BufferSpan scratch) const {
  switch (place.in) {
    case Place::In::input: return {inputs[place.index].buffer, inputs[place.index].offset, place.size};
    case Place::In::output: return {outputs[place.index].buffer, outputs[place.index].offset, place.size};
    case Place::In::scratch: return {scratch.buffer, scratch.offset + place.offset, place.size};
    case Place::In::constant: return {constants_[place.index].get(), 0, place.size};
    case Place::In::nowhere: break;
  }
  return {};
}

bool Plan::run(StreamContext& context, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
               Progress* progress) const {
  context.begin_execution();
  return run_in(context, inputs, outputs, context.scratch(scratch_bytes_), progress);
}

bool Plan::run_in(StreamContext& context, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
                  BufferSpan scratch, Progress* progress) const {
  StreamContext::Frame frame(context, places_.size());
  const std::span<BufferSpan> spans = frame.spans();
  for (std::size_t i = 0; i < places_.size(); ++i) spans[i] = resolve(places_[i], inputs, outputs, scratch);
  const auto may_go_on = [progress](bool commits) {
    return progress == nullptr || (commits ? progress->commit() : !progress->stopped());
  };
  Stream& stream = context.stream();
  for (const Segment& segment : segments_) {
    for (const Step& step : segment.steps) {
      context.give_way();
      if (!may_go_on(step.commits)) return false;
      const std::span<const BufferSpan> in = spans.subspan(step.first_place, step.inputs);
      const std::span<const BufferSpan> out = spans.subspan(step.first_place + step.inputs, step.outputs);
      if (step.kernel)
        step.kernel->launch(stream, in, out, resolve(step.scratch, inputs, outputs, scratch));
      else
        stream.copy(out[0], in[0]);
    }
    if (const ControlStep* control = segment.control.get()) {
      context.give_way();
      if (!may_go_on(control->commits)) return false;
      const std::span<const BufferSpan> in = spans.subspan(control->first_place, control->inputs);
      const std::span<const BufferSpan> out = spans.subspan(control->first_place + control->inputs, control->outputs);
      if (!control->run({context, in, out, resolve(control->scratch, inputs, outputs, scratch), progress}))
        return false;
    }
  }
  return true;
}

}  // namespace ml::runtime
