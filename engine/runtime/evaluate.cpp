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

}  // namespace

std::vector<HostTensor> run_plan(const Plan& plan, StreamContext& context, std::span<const HostTensor> inputs) {
  std::vector<BufferSpan> in, out;
  std::size_t total = 0;
  const auto reserve = [&total](std::vector<BufferSpan>& spans, std::size_t bytes) {
    spans.push_back({nullptr, total, bytes});
    total += align_memory(bytes);
  };
  for (std::size_t i = 0; i < plan.inputs().size(); ++i) reserve(in, bytes_of(plan.inputs()[i]));
  for (const TensorType& type : plan.outputs()) reserve(out, bytes_of(type));
  const BufferSpan memory = context.staging(total);
  for (BufferSpan& span : in) span.buffer = memory.buffer;
  for (BufferSpan& span : out) span.buffer = memory.buffer;
  for (const Donation& donation : plan.donations()) out[donation.output] = in[donation.input];

  Stream& stream = context.stream();
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i].size != 0) stream.upload(in[i], inputs[i].bytes.data());
  }
  plan.run(context, in, out);
  std::vector<HostTensor> results;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const TensorType& type = plan.outputs()[i];
    results.push_back({type.dtype, type.shape, std::vector<std::byte>(out[i].size)});
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
  const std::unique_ptr<const runtime::Plan> plan = runtime::make_plan(bound, resources, {fold});
  runtime::StreamContext context(device);
  return runtime::run_plan(*plan, context, inputs);
}

}  // namespace ml
