// Moving elements without looking at them: each op is a few strided copies, run by the loop interpreter on the bits.
#include <algorithm>
#include <utility>
#include <vector>

#include "engine/backends/cpu/axis_view.h"
#include "engine/backends/cpu/cpu_device.h"
#include "engine/backends/cpu/loop_interpreter.h"
#include "engine/graph/ops/movement.h"
#include "engine/graph/scalar.h"
#include "ml/error.h"

namespace ml::cpu {
namespace {

// A dtype of the same width whose elements are moved as they are. Below a byte what lies above an element is made good.
DType bits_of(DType dtype) {
  if (dtype == DType::f4e2m1) return DType::u4;
  if (dtype_info(dtype).bits < 8) return dtype;
  switch (dtype_size(dtype)) {
    case 1: return DType::u8;
    case 2: return DType::u16;
    case 4: return DType::u32;
    default: return DType::u64;
  }
}

// One strided copy: `from` elements into the input, `to` elements into the output.
class Copy {
 public:
  Copy(DType dtype, const Shape& shape, const codegen::Strides& from_strides, std::int64_t from,
       const codegen::Strides& to_strides, std::int64_t to)
      : interpreter_(program(bits_of(dtype), shape, from_strides, to_strides)) {
    const auto width = static_cast<std::int64_t>(dtype_size(dtype));
    from_ = from * width;
    to_ = to * width;
  }

  void run(ThreadPool& pool, std::byte* from, std::byte* to) const {
    std::byte* const in[] = {from + from_};
    std::byte* const out[] = {to + to_};
    interpreter_.run(pool, in, out, nullptr);
  }

 private:
  static codegen::LoopProgram program(DType dtype, const Shape& shape, const codegen::Strides& from,
                                      const codegen::Strides& to) {
    auto attributes = std::make_shared<BroadcastAttributes>();
    attributes->shape = shape;
    const TensorType type{dtype, shape};
    const Graph graph = codegen::single_node(find_op("broadcast_to"), std::move(attributes), {&type, 1});
    std::string why;
    auto compiled = codegen::compile_loop(graph, {&from, 1}, {&to, 1}, why);
    if (!compiled) throw Error(Code::internal, "a copy of " + shape.str() + " is no loop program: " + why);
    return std::move(*compiled);
  }

  LoopInterpreter interpreter_;
  std::int64_t from_, to_;  // bytes
};

// Input `input` copied by `copy`.
struct Move {
  std::size_t input;
  Copy copy;
};

std::unique_ptr<Kernel> compile_moves(std::vector<Move> moves) {
  return make_kernel([moves = std::move(moves)](CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
    for (const Move& move : moves) move.copy.run(stream.pool(), data_of(inputs[move.input]), data_of(outputs[0]));
  });
}

const codegen::Strides& strides_of(const Operand& operand) { return operand.layout.strides; }

std::unique_ptr<Kernel> compile_transpose(const KernelRequest& request, PackCache&) {
  const Operand &x = request.inputs[0], &y = request.outputs[0];
  codegen::Strides strides;
  for (const std::int64_t axis : request.as<TransposeAttributes>().order) {
    strides.push_back(x.layout.strides[static_cast<std::size_t>(axis)]);
  }
  return compile_moves({{0, Copy(y.type.dtype, y.type.shape, strides, 0, strides_of(y), 0)}});
}

std::unique_ptr<Kernel> compile_slice(const KernelRequest& request, PackCache&) {
  const Operand &x = request.inputs[0], &y = request.outputs[0];
  codegen::Strides strides = strides_of(x);
  std::int64_t start = 0;
  for (int axis = 0; axis < x.type.shape.rank(); ++axis) {
    const SliceRange range = slice_range(request.as<SliceAttributes>(), axis, x.type.shape[axis]);
    std::int64_t& stride = strides[static_cast<std::size_t>(axis)];
    start += range.start * stride;
    stride *= range.stride;
  }
  return compile_moves({{0, Copy(y.type.dtype, y.type.shape, strides, start, strides_of(y), 0)}});
}

std::unique_ptr<Kernel> compile_reverse(const KernelRequest& request, PackCache&) {
  const Operand &x = request.inputs[0], &y = request.outputs[0];
  codegen::Strides strides = strides_of(x);
  std::int64_t start = 0;
  for (const std::int64_t axis : request.as<ReverseAttributes>().axes) {
    std::int64_t& stride = strides[static_cast<std::size_t>(axis)];
    start += (x.type.shape[static_cast<int>(axis)] - 1) * stride;
    stride = -stride;
  }
  return compile_moves({{0, Copy(y.type.dtype, y.type.shape, strides, start, strides_of(y), 0)}});
}

std::unique_ptr<Kernel> compile_concat(const KernelRequest& request, PackCache&) {
  const Operand& y = request.outputs[0];
  const auto axis = static_cast<std::size_t>(request.as<AxisAttributes>().axis);
  std::vector<Move> moves;
  std::int64_t start = 0;
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    const Operand& x = request.inputs[i];
    moves.push_back({i, Copy(y.type.dtype, x.type.shape, strides_of(x), 0, strides_of(y), start)});
    start += x.type.shape[static_cast<int>(axis)] * y.layout.strides[axis];
  }
  return compile_moves(std::move(moves));
}

std::unique_ptr<Kernel> compile_pad(const KernelRequest& request, PackCache&) {
  const Operand &x = request.inputs[0], &y = request.outputs[0];
  const auto& attributes = request.as<PadAttributes>();
  codegen::Strides strides = strides_of(y);
  std::int64_t start = 0;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    start += attributes.low[i] * strides[i];
    strides[i] *= attributes.interior[i] + 1;
  }
  std::uint64_t value = 0;
  store_double(y.type.dtype, reinterpret_cast<std::byte*>(&value), attributes.value);
  const codegen::Strides nowhere(strides.size(), 0);
  return make_kernel([value, fill = Copy(y.type.dtype, y.type.shape, nowhere, 0, strides_of(y), 0),
                      copy = Copy(y.type.dtype, x.type.shape, strides_of(x), 0, strides, start)](
                         CpuStream& stream, Spans inputs, Spans outputs, std::byte*) {
    std::uint64_t element = value;
    fill.run(stream.pool(), reinterpret_cast<std::byte*>(&element), data_of(outputs[0]));
    copy.run(stream.pool(), data_of(inputs[0]), data_of(outputs[0]));
  });
}

// The values of the axis once, then repeated.
std::unique_ptr<Kernel> compile_iota(const KernelRequest& request, PackCache&) {
  const Operand& y = request.outputs[0];
  const auto axis = static_cast<std::size_t>(request.as<IotaAttributes>().axis);
  const std::int64_t extent = y.type.shape[static_cast<int>(axis)];
  codegen::Strides strides(strides_of(y).size(), 0);
  strides[axis] = 1;
  const std::size_t width = dtype_size(y.type.dtype);
  return make_kernel(
      [extent, width, dtype = y.type.dtype, copy = Copy(y.type.dtype, y.type.shape, strides, 0, strides_of(y), 0)](
          CpuStream& stream, Spans, Spans outputs, std::byte* scratch) {
        for (std::int64_t i = 0; i < extent; ++i) store_int(dtype, scratch + static_cast<std::size_t>(i) * width, i);
        copy.run(stream.pool(), scratch, data_of(outputs[0]));
      },
      static_cast<std::size_t>(extent) * width);
}

// The elements in the order of the shapes, which both lie in.
std::unique_ptr<Kernel> compile_reshape(const KernelRequest& request, PackCache&) {
  const Operand& y = request.outputs[0];
  const Shape flat{y.type.shape.elements()};
  return compile_moves({{0, Copy(y.type.dtype, flat, {1}, 0, {1}, 0)}});
}

std::unique_ptr<Kernel> compile_bit_cast(const KernelRequest& request, PackCache&) {
  const Operand &x = request.inputs[0], &y = request.outputs[0];
  return compile_moves({{0, Copy(y.type.dtype, y.type.shape, strides_of(x), 0, strides_of(y), 0)}});
}

std::unique_ptr<Kernel> compile_constant(const KernelRequest& request, PackCache&) {
  return make_kernel([value = request.as<ConstantAttributes>().value](CpuStream&, Spans, Spans outputs, std::byte*) {
    std::ranges::copy(value->bytes(), data_of(outputs[0]));
  });
}

constexpr Implementation kTable[] = {
    {.op = "constant", .kernel = "copy", .refuse = refuse_strided, .compile = compile_constant},
    {.op = "reshape", .kernel = "copy", .refuse = refuse_strided, .compile = compile_reshape},
    {.op = "transpose", .kernel = "copy", .refuse = nullptr, .compile = compile_transpose},
    {.op = "slice", .kernel = "copy", .refuse = nullptr, .compile = compile_slice},
    {.op = "reverse", .kernel = "copy", .refuse = nullptr, .compile = compile_reverse},
    {.op = "concat", .kernel = "copy", .refuse = nullptr, .compile = compile_concat},
    {.op = "pad", .kernel = "copy", .refuse = nullptr, .compile = compile_pad},
    {.op = "iota", .kernel = "copy", .refuse = nullptr, .compile = compile_iota},
    {.op = "bit_cast", .kernel = "copy", .refuse = nullptr, .compile = compile_bit_cast},
};

}  // namespace

std::span<const Implementation> movement_implementations() { return kTable; }

}  // namespace ml::cpu
