#include "engine/runtime/resources.h"

#include <cstdint>

#include "engine/runtime/evaluate.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

// Kernels load constants with whole vectors, unless they say otherwise; bytes that lie worse are copied once.
constexpr std::uintptr_t kWrapAlignment = 16;

bool is_aligned(std::span<const std::byte> bytes) {
  return reinterpret_cast<std::uintptr_t>(bytes.data()) % kWrapAlignment == 0;
}

std::shared_ptr<Buffer> place(Device& device, const ConstantData& constant, ConstantUse use) {
  const std::span<const std::byte> bytes = constant.bytes();
  // Nothing writes through the buffer of a constant: it is only ever an operand to read.
  if (device.traits().unified && (use == ConstantUse::bytes || is_aligned(bytes)) && !bytes.empty())
    return device.wrap(const_cast<std::byte*>(bytes.data()), bytes.size());
  std::shared_ptr<Buffer> buffer = device.allocate(bytes.size());
  if (!bytes.empty()) {
    const std::unique_ptr<Stream> stream = device.create_stream();
    stream->upload({buffer.get(), 0, bytes.size()}, bytes.data());
    stream->record()->wait();
    constant.set_aside();
  }
  return buffer;
}

}  // namespace

std::shared_ptr<Buffer> ProgramResources::constant(const ConstantPtr& constant, ConstantUse use) {
  const std::uint64_t key = hash(*constant);
  const std::lock_guard lock(mutex_);
  for (auto [at, end] = constants_.equal_range(key); at != end; ++at) {
    if (!equal(*at->second.constant, *constant)) continue;
    if (at->second.aligned || use == ConstantUse::bytes) return at->second.buffer;
  }
  std::shared_ptr<Buffer> buffer = place(device_, *constant, use);
  constants_.emplace(key, Entry{constant, buffer, use == ConstantUse::aligned || is_aligned(constant->bytes())});
  return buffer;
}

// Buffers are handed out under the lock, so what is counted once stays so.
void ProgramResources::drop_unused() {
  const std::lock_guard lock(mutex_);
  std::erase_if(constants_, [](const auto& entry) {
    return entry.second.buffer.use_count() == 1 && entry.second.constant.use_count() == 1;
  });
}

std::size_t ProgramResources::constant_count() const {
  const std::lock_guard lock(mutex_);
  return constants_.size();
}

void ProgramResources::charge_packs() {
  const std::lock_guard lock(mutex_);
  memory_.grow_to(packs_.bytes());
}

passes::Evaluate reference_evaluate() {
  const std::shared_ptr<Device> device = create_reference_device();
  return [device](const Graph& graph, const Node& node, std::span<const ConstantPtr> inputs) {
    Graph single;
    std::vector<ValueId> operands;
    std::vector<HostTensor> values;
    for (const ConstantPtr& input : inputs) {
      operands.push_back(single.add_input("", {input->dtype, input->shape}));
      values.push_back({input->dtype, input->shape, {input->bytes().begin(), input->bytes().end()}});
    }
    std::vector<TensorType> types;
    for (std::uint32_t i = 0; i < node.output_count; ++i) types.push_back(graph.type(node.output(i)));
    const ValueId first = single.add_unchecked(*node.op, node.attributes, operands, types);
    for (std::uint32_t i = 0; i < node.output_count; ++i) single.add_output("", first + i);

    ProgramResources resources(*device);
    const auto plan = make_staged_plan(single, resources, {.evaluate = {}});
    StreamContext context(*device);
    std::vector<ConstantPtr> results;
    try {
      for (const HostTensor& tensor : run_plan(*plan, context, values))
        results.push_back(make_constant(tensor.dtype, tensor.shape, tensor.bytes));
    } catch (const Error& error) {
      if (error.code() != Code::out_of_range) throw;  // an index error belongs to the execution: it isn't folded away
    }
    return results;
  };
}

}  // namespace ml::runtime
