// The rows of everything that is one loop program: element-wise ops, reductions, broadcasts and fused groups.
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/loop_interpreter.h"
#include "ml/error.h"

namespace ml::cpu {
namespace {

using codegen::LoopOp;
using codegen::LoopOperand;
using codegen::LoopProgram;

class LoopKernel final : public Kernel {
 public:
  explicit LoopKernel(LoopProgram program) : interpreter_(std::move(program)) {}

  std::size_t scratch_bytes() const override { return interpreter_.scratch_bytes(); }

  // Each element is read where it is written, before any store of its tile.
  bool in_place(std::size_t input, std::size_t output) const override {
    const LoopProgram& program = interpreter_.program();
    const LoopOperand& from = program.inputs[input];
    const LoopOperand& to = program.outputs[output];
    return !program.has_folds() && dtype_size(from.dtype) == dtype_size(to.dtype) && from.strides == to.strides;
  }

  void launch(Stream& stream, Spans inputs, Spans outputs, BufferSpan scratch) const override {
    std::array<std::byte*, LoopInterpreter::kMaxOperands> in, out;
    for (std::size_t i = 0; i < inputs.size(); ++i) in[i] = data_of(inputs[i]);
    for (std::size_t i = 0; i < outputs.size(); ++i) out[i] = data_of(outputs[i]);
    interpreter_.run(cpu_stream(stream).pool(), {in.data(), inputs.size()}, {out.data(), outputs.size()},
                     data_of(scratch));
  }

 private:
  LoopInterpreter interpreter_;
};

std::optional<LoopProgram> compile_request(const KernelRequest& request, std::string& why) {
  std::vector<codegen::Strides> inputs, outputs;
  std::vector<TensorType> types;
  for (const Operand& operand : request.inputs) {
    inputs.push_back(operand.layout.strides);
    types.push_back(operand.type);
  }
  for (const Operand& operand : request.outputs) outputs.push_back(operand.layout.strides);
  if (request.op.name == "fused")
    return codegen::compile_loop(*request.as<BodyAttributes>().body, inputs, outputs, why);
  return codegen::compile_loop(codegen::single_node(request.op, request.attributes, types), inputs, outputs, why);
}

const char* refuse_fused(const KernelRequest& request) {
  std::string why;
  const auto program = compile_request(request, why);
  if (!program) return refusal::kAttribute;
  return LoopInterpreter::takes(*program) ? nullptr : refusal::kSize;
}

std::unique_ptr<Kernel> compile(const KernelRequest& request, PackCache&) {
  std::string why;
  auto program = compile_request(request, why);
  if (!program) throw Error(Code::internal, std::string(request.op.name) + ": no loop program: " + why);
  return std::make_unique<LoopKernel>(std::move(*program));
}

std::vector<Implementation> make_table() {
  std::vector<Implementation> table;
  for (const Op* op : all_ops()) {
    if (codegen::loop_op(op->name) || op->name == "broadcast_to") {
      table.push_back({.op = op->name, .kernel = "loop", .refuse = nullptr, .compile = compile});
    }
  }
  table.push_back({.op = "fused", .kernel = "loop", .refuse = refuse_fused, .compile = compile});
  return table;
}

}  // namespace

std::span<const Implementation> loop_implementations() {
  static const std::vector<Implementation> table = make_table();
  return table;
}

}  // namespace ml::cpu
