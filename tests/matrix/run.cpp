#include "tests/matrix/run.h"

#include <algorithm>
#include <string>

#include "engine/backends/pack_cache.h"
#include "engine/graph/ops/control.h"
#include "engine/passes/passes.h"
#include "engine/runtime/kernel_request.h"
#include "engine/runtime/resources.h"
#include "ml/error.h"
#include "tests/matrix/values.h"

namespace ml::test {
namespace {

constexpr std::size_t kGuard = 64;  // bytes on both sides of every output, which no kernel may touch
constexpr std::byte kUntouched{0xA5};

std::size_t bytes_of(const TensorType& type) {
  return static_cast<std::size_t>(type.shape.elements()) * dtype_size(type.dtype);
}

// An operand in device memory, between guards.
struct Placed {
  std::unique_ptr<Buffer> buffer;
  std::vector<std::byte> before, after;  // with the guards
  BufferSpan span;

  // `shift`: by how much it lies behind an aligned place.
  Placed(Target& target, std::span<const std::byte> bytes, std::size_t shift = 0)
      : buffer(target.device->allocate(bytes.size() + shift + 2 * kGuard)),
        before(bytes.size() + shift + 2 * kGuard, kUntouched),
        after(before.size()) {
    std::ranges::copy(bytes, before.begin() + static_cast<std::ptrdiff_t>(kGuard + shift));
    span = {buffer.get(), kGuard + shift, bytes.size()};
    target.stream->upload({buffer.get(), 0, before.size()}, before.data());
  }
  std::span<const std::byte> inside() const { return std::span(after).subspan(kGuard, span.size); }
  bool guards_hold() const {
    const auto untouched = [](std::byte b) { return b == kUntouched; };
    return std::all_of(after.begin(), after.begin() + kGuard, untouched) &&
           std::all_of(after.end() - kGuard, after.end(), untouched);
  }
};

}  // namespace

Result run_kernel(Target& target, const Implementation& row, const KernelRequest& request,
                  std::span<const HostTensor> inputs, InPlace shared) {
  PackCache packs(target.device->traits().threads);
  const std::unique_ptr<Kernel> kernel = row.compile(request, packs);
  std::vector<Placed> in, out;
  in.reserve(inputs.size());
  out.reserve(request.outputs.size());
  std::vector<BufferSpan> in_spans, out_spans;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool constant = request.inputs[i].constant != nullptr;
    const ConstantUse use = constant ? kernel->constant_use(i) : ConstantUse::aligned;
    in.emplace_back(target, to_layout(inputs[i], request.inputs[i].layout), use == ConstantUse::bytes ? 1 : 0);
    in_spans.push_back(use == ConstantUse::packed ? BufferSpan{} : in.back().span);
  }
  for (std::size_t i = 0; i < request.outputs.size(); ++i) {
    const Operand& operand = request.outputs[i];
    out.emplace_back(target, std::vector<std::byte>(operand.used ? bytes_of(operand.type) : 0, std::byte{0x5C}));
    out_spans.push_back(!operand.used ? BufferSpan{} : i == shared.output ? in[shared.input].span : out.back().span);
  }
  const std::unique_ptr<Buffer> scratch = target.device->allocate(kernel->scratch_bytes());
  target.stream->take_index_error();
  kernel->launch(*target.stream, in_spans, out_spans, {scratch.get(), 0, kernel->scratch_bytes()});
  if (shared.input != kNone) out[shared.output].buffer.swap(in[shared.input].buffer);
  for (Placed& placed : out)
    target.stream->download(placed.after.data(), {placed.buffer.get(), 0, placed.after.size()});
  target.stream->record()->wait();

  Result result;
  result.index_error = target.stream->take_index_error();
  for (std::size_t i = 0; i < out.size(); ++i) {
    const Operand& operand = request.outputs[i];
    if (!out[i].guards_hold()) {
      throw Error(Code::internal, std::string(row.kernel) + ": wrote outside of output " + std::to_string(i));
    }
    result.outputs.push_back(operand.used ? from_layout(operand.type, out[i].inside(), operand.layout)
                                          : HostTensor{operand.type.dtype, operand.type.shape, {}});
  }
  return result;
}

Graph graph_of(const Op& op, const AttributesPtr& attributes, std::span<const HostTensor> inputs,
               const std::vector<bool>& known) {
  Graph graph;
  std::vector<ValueId> operands;
  std::vector<Shape> shapes;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const HostTensor& tensor = inputs[i];
    if (known[i]) {
      operands.push_back(graph.add_constant(make_constant(tensor.dtype, tensor.shape, tensor.bytes)));
    } else {
      operands.push_back(graph.add_input("x" + std::to_string(i), {tensor.dtype, tensor.shape}));
      shapes.push_back(tensor.shape);
    }
  }
  const ValueId first = graph.add(op, attributes, operands);
  const std::uint32_t outputs = graph.nodes().back().output_count;
  for (std::uint32_t i = 0; i < outputs; ++i) graph.add_output("y" + std::to_string(i), first + i);
  if (op.kind != OpKind::dynamic) return graph;
  return passes::bind(graph, shapes, runtime::reference_evaluate());
}

namespace {

// Turn i sees the i-th slices of what is scanned.
Result run_scan(Target& target, const Node& node, std::span<const HostTensor> operands,
                std::span<const TensorType> types) {
  const auto& attributes = node.as<ScanAttributes>();
  const auto carried = static_cast<std::size_t>(attributes.carried);
  const std::size_t scanned = carried + static_cast<std::size_t>(attributes.scanned);
  Result result;
  for (std::size_t i = 0; i < types.size(); ++i) {
    result.outputs.push_back({types[i].dtype, types[i].shape, {}});
    if (i < carried)
      result.outputs[i] = operands[i];
    else
      result.outputs[i].bytes.resize(static_cast<std::size_t>(types[i].shape.elements()) * dtype_size(types[i].dtype));
  }
  const std::int64_t length = attributes.length != kUnknown ? attributes.length : operands[carried].shape[0];
  const auto turns = static_cast<std::size_t>(length);
  for (std::size_t turn = 0; turn < turns; ++turn) {
    const std::size_t at = attributes.reverse ? turns - 1 - turn : turn;
    std::vector<HostTensor> inputs(operands.begin(), operands.end());
    for (std::size_t i = 0; i < scanned; ++i) {
      if (i < carried) {
        inputs[i] = result.outputs[i];
        continue;
      }
      const std::size_t size = operands[i].bytes.size() / turns;
      const std::byte* const from = operands[i].bytes.data() + at * size;
      inputs[i] = {operands[i].dtype, Shape(operands[i].shape.dims().subspan(1)), {from, from + size}};
    }
    Result step = run_graph(target, *attributes.body, inputs);
    result.index_error |= step.index_error;
    for (std::size_t i = 0; i < types.size(); ++i) {
      if (i < carried)
        result.outputs[i] = std::move(step.outputs[i]);
      else
        std::ranges::copy(step.outputs[i].bytes, result.outputs[i].bytes.begin() +
                                                     static_cast<std::ptrdiff_t>(at * step.outputs[i].bytes.size()));
    }
  }
  return result;
}

Result run_while(Target& target, const Node& node, std::span<const HostTensor> operands) {
  const auto& attributes = node.as<WhileAttributes>();
  std::vector<HostTensor> inputs(operands.begin(), operands.end());
  Result result;
  for (;;) {
    const Result condition = run_graph(target, *attributes.condition, inputs);
    result.index_error |= condition.index_error;
    if (condition.outputs[0].bytes[0] == std::byte{0}) break;
    Result step = run_graph(target, *attributes.body, inputs);
    result.index_error |= step.index_error;
    std::ranges::move(step.outputs, inputs.begin());
  }
  inputs.resize(static_cast<std::size_t>(attributes.carried));
  result.outputs = std::move(inputs);
  return result;
}

}  // namespace

Result run_graph(Target& target, const Graph& graph, std::span<const HostTensor> inputs) {
  const Graph lowered = passes::decompose(graph, runtime::keep_what_runs_on(*target.device));
  const std::vector<std::uint32_t> uses = use_counts(lowered);
  std::vector<HostTensor> values(lowered.values().size());
  for (std::size_t i = 0; i < inputs.size(); ++i) values[lowered.inputs()[i].value] = inputs[i];
  Result result;
  for (const Node& node : lowered.nodes()) {
    std::vector<HostTensor> operands;
    for (const ValueId id : node.inputs) operands.push_back(values[id]);
    Result step;
    if (node.op->name == "scan") {
      std::vector<TensorType> types;
      for (std::uint32_t i = 0; i < node.output_count; ++i) types.push_back(lowered.type(node.output(i)));
      step = run_scan(target, node, operands, types);
    } else if (node.op->name == "while") {
      step = run_while(target, node, operands);
    } else {
      const KernelRequest request = runtime::request_for(lowered, node, uses);
      step = run_kernel(target, choose(*target.device, request), request, operands);
    }
    result.index_error |= step.index_error;
    for (std::uint32_t i = 0; i < node.output_count; ++i) values[node.output(i)] = std::move(step.outputs[i]);
  }
  for (const GraphOutput& output : lowered.outputs()) result.outputs.push_back(values[output.value]);
  return result;
}

}  // namespace ml::test
