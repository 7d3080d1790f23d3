#include "engine/runtime/evaluate.h"

#include <string>

#include "engine/passes/passes.h"
#include "engine/runtime/memory_planner.h"
#include "ml/error.h"

namespace ml {
namespace runtime {
namespace {

std::size_t bytes_of(const TensorType& type) {
  return static_cast<std::size_t>(type.shape.elements()) * dtype_size(type.dtype);
}

// Outputs whose types show while the plan runs, each in a buffer of its own.
class Rooms final : public OutputRoom {
 public:
  Rooms(Device& device, std::vector<TensorType>& types, std::vector<BufferSpan>& spans)
      : device_(device), types_(types), spans_(spans) {}
  BufferSpan room_for(std::size_t output, const TensorType& type) override {
    buffers_.push_back(device_.allocate(bytes_of(type)));
    types_[output] = type;
    spans_[output] = {buffers_.back().get(), 0, bytes_of(type)};
    return spans_[output];
  }

 private:
  Device& device_;
  std::vector<TensorType>& types_;
  std::vector<BufferSpan>& spans_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

}  // namespace

std::vector<HostTensor> run_plan(const StagedPlan& plan, StreamContext& context, std::span<const HostTensor> inputs) {
  std::vector<TensorType> types(plan.outputs().begin(), plan.outputs().end());
  std::vector<BufferSpan> in, out;
  std::size_t total = 0;
  const auto reserve = [&total](std::vector<BufferSpan>& spans, const TensorType& type) {
    const std::size_t bytes = type.shape.known() ? bytes_of(type) : 0;
    spans.push_back({nullptr, total, bytes});
    total += align_memory(bytes);
  };
  for (const TensorType& type : plan.inputs()) reserve(in, type);
  for (const TensorType& type : types) reserve(out, type);
  const BufferSpan memory = context.staging(total);
  for (BufferSpan& span : in) span.buffer = memory.buffer;
  for (BufferSpan& span : out) span.buffer = memory.buffer;
  for (const Donation& donation : plan.donations()) out[donation.output] = in[donation.input];

  Stream& stream = context.stream();
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i].size != 0) stream.upload(in[i], inputs[i].bytes.data());
  }
  Rooms rooms(context.device(), types, out);
  plan.run(context, in, out, &rooms);
  std::vector<HostTensor> results;
  for (std::size_t i = 0; i < out.size(); ++i) {
    results.push_back({types[i].dtype, types[i].shape, std::vector<std::byte>(out[i].size)});
    if (out[i].size != 0) stream.download(results.back().bytes.data(), out[i]);
  }
  context.synchronize();
  if (stream.take_index_error()) {
    throw Error(Code::out_of_range, "an index held by a tensor is out of range", {},
                "check class labels, and the indices given to take, gather, scatter and embedding");
  }
  return results;
}

}  // namespace runtime

std::vector<HostTensor> evaluate(const Graph& graph, Device& device, std::span<const HostTensor> inputs) {
  std::vector<Shape> shapes;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const HostTensor& tensor = inputs[i];
    const TensorType type{tensor.dtype, tensor.shape};
    if (i < graph.inputs().size() && graph.type(graph.inputs()[i].value).dtype != tensor.dtype) {
      throw Error(Code::invalid_argument, "input '" + graph.inputs()[i].name + "' is " +
                                              std::string(dtype_name(graph.type(graph.inputs()[i].value).dtype)) +
                                              ", got " + std::string(dtype_name(tensor.dtype)));
    }
    if (tensor.bytes.size() != runtime::bytes_of(type)) {
      throw Error(Code::invalid_argument, "input " + std::to_string(i) + " of shape " + tensor.shape.str() + " has " +
                                              std::to_string(tensor.bytes.size()) + " bytes, not " +
                                              std::to_string(runtime::bytes_of(type)));
    }
    shapes.push_back(tensor.shape);
  }
  const passes::Evaluate fold = runtime::reference_evaluate();
  const Graph bound = passes::bind(graph, shapes, fold);
  runtime::ProgramResources resources(device);
  const auto plan = runtime::make_staged_plan(bound, resources, {fold});
  runtime::StreamContext context(device);
  return runtime::run_plan(*plan, context, inputs);
}

}  // namespace ml
