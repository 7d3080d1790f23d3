#include "engine/codegen/loop_program.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <utility>

namespace ml::codegen {
namespace {

constexpr std::pair<std::string_view, LoopOp> kNames[] = {
    {"reduce_sum", LoopOp::fold_sum}, {"reduce_prod", LoopOp::fold_prod},
    {"reduce_max", LoopOp::fold_max}, {"reduce_min", LoopOp::fold_min},
    {"cast", LoopOp::cast},           {"select", LoopOp::select},
#define X(op) {#op, LoopOp::op},
    ML_UNARY_OPS(X) ML_BINARY_OPS(X)
#undef X
};

constexpr std::size_t kMaxInstructions = 4096;

bool is_broadcast(const Node& node) { return node.op->name == "broadcast_to"; }

// Strides of an operand of `shape`, aligned to the right of a space, 0 where it broadcasts.
std::vector<std::int64_t> aligned(const Shape& shape, const Strides& strides, const Shape& space) {
  std::vector<std::int64_t> result(static_cast<std::size_t>(space.rank()), 0);
  const int shift = space.rank() - shape.rank();
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] != 1) result[static_cast<std::size_t>(i + shift)] = strides[static_cast<std::size_t>(i)];
  }
  return result;
}

// Turns a body into instructions whose registers are values of the body; assign_registers() makes them few.
class Compiler {
 public:
  Compiler(const Graph& body, std::span<const Strides> inputs, std::span<const Strides> outputs)
      : body_(body), input_strides_(inputs), output_strides_(outputs) {}

  std::optional<LoopProgram> run(std::string& refused) {
    if (!find_space(refused) || !emit_nodes(refused) || !emit_outputs(refused)) return std::nullopt;
    order_dimensions();
    collapse_dimensions();
    hoist_invariants();
    assign_registers();
    return std::move(program_);
  }

 private:
  // The shape that everything but the results of folds broadcasts to, and the dimensions that folds fold.
  bool find_space(std::string& refused) {
    const auto& values = body_.values();
    folded_value_.assign(values.size(), false);
    bool first = true;
    for (const Node& node : body_.nodes()) {
      for (const ValueId input : node.inputs) {
        if (folded_value_[input]) return refuse(refused, "a reduction is read again");
      }
      if (node.op->kind == OpKind::constant || is_broadcast(node)) continue;
      const auto op = loop_op(node.op->name);
      if (!op || node.output_count != 1) return refuse(refused, "an op that is not element-wise");
      if (is_fold(*op)) folded_value_[node.first_output] = true;
    }
    for (ValueId value = 0; value < values.size(); ++value) {
      if (!values[value].type.shape.known()) return refuse(refused, "an unknown extent");
      if (folded_value_[value]) continue;
      space_ = first ? values[value].type.shape : broadcast_shapes(space_, values[value].type.shape, "fused");
      first = false;
    }
    program_.extents.assign(space_.begin(), space_.end());
    program_.folded.assign(program_.extents.size(), false);
    bool folds = false;
    for (const Node& node : body_.nodes()) {
      if (!folded_value_[node.first_output] || node.output_count == 0) continue;
      std::vector<bool> axes(program_.extents.size(), false);
      for (const std::int64_t axis : node.as<ReduceAttributes>().axes) axes[static_cast<std::size_t>(axis)] = true;
      if (body_.type(node.inputs[0]).shape != space_) return refuse(refused, "a reduction of a smaller shape");
      if (folds && axes != program_.folded) return refuse(refused, "reductions over different axes");
      program_.folded = axes;
      folds = true;
    }
    return true;
  }

  bool emit_nodes(std::string& refused) {
    registers_.assign(body_.values().size(), kNone);
    for (std::size_t i = 0; i < body_.inputs().size(); ++i) {
      const TensorType& type = body_.type(body_.inputs()[i].value);
      program_.inputs.push_back({type.dtype, aligned(type.shape, input_strides_[i], space_)});
    }
    for (const Node& node : body_.nodes()) {
      if (program_.code.size() > kMaxInstructions) return refuse(refused, "more instructions than a program may have");
      if (folded_value_[node.first_output]) continue;
      if (node.op->kind == OpKind::constant) continue;
      const Register a = use(node.inputs[0], refused);
      if (a == kNone) return false;
      if (is_broadcast(node)) {
        registers_[node.first_output] = a;
        continue;
      }
      LoopInstruction instruction{.op = *loop_op(node.op->name),
                                  .from = body_.type(node.inputs.back()).dtype,
                                  .to = body_.type(node.first_output).dtype,
                                  .a = a};
      if (node.inputs.size() > 1) instruction.b = use(node.inputs[1], refused);
      if (node.inputs.size() > 2) instruction.c = use(node.inputs[2], refused);
      if (instruction.b == kNone || instruction.c == kNone) return false;
      if (instruction.op == LoopOp::cast) widen_before_narrowing(instruction);
      registers_[node.first_output] = append(instruction);
    }
    return true;
  }

  // A cast to a narrow dtype starts from what that is held in, so that there need not be one for every pair of dtypes.
  // Floats become narrow integers at once, because they saturate.
  void widen_before_narrowing(LoopInstruction& cast) {
    const DType wide = dtype_info(cast.to).compute;
    if (!is_narrow(cast.to) || dtype_info(cast.from).compute == wide) return;
    if (is_floating(cast.from) && !is_floating(cast.to)) return;
    cast.a = append({.op = LoopOp::cast, .from = cast.from, .to = wide, .a = cast.a});
    cast.from = wide;
  }

  bool emit_outputs(std::string& refused) {
    std::vector<LoopInstruction> ends;
    for (std::size_t i = 0; i < body_.outputs().size(); ++i) {
      const ValueId value = body_.outputs()[i].value;
      const TensorType& type = body_.type(value);
      LoopInstruction end{
          .op = LoopOp::store, .from = type.dtype, .to = type.dtype, .operand = static_cast<std::uint32_t>(i)};
      if (folded_value_[value]) {
        const Node& node = *body_.producer(value);
        end.op = *loop_op(node.op->name);
        end.a = use(node.inputs[0], refused);
        program_.outputs.push_back({type.dtype, unfolded(node, output_strides_[i])});
      } else {
        if (type.shape != space_) return refuse(refused, "an output of a smaller shape");
        end.a = use(value, refused);
        if (end.a == kNone) return false;
        // An output that is only an input gets a copy of its own, so that stores in place cannot disturb it.
        if (program_.code[producers_[end.a]].op == LoopOp::load && body_.outputs().size() > 1) {
          end.a = append({.op = LoopOp::cast, .from = type.dtype, .to = type.dtype, .a = end.a});
        }
        program_.outputs.push_back({type.dtype, aligned(type.shape, output_strides_[i], space_)});
      }
      if (end.a == kNone) return false;
      ends.push_back(end);
    }
    program_.code.insert(program_.code.end(), ends.begin(), ends.end());
    return true;
  }

  // Strides of a reduction's result in the space: 0 where it was folded.
  std::vector<std::int64_t> unfolded(const Node& node, const Strides& strides) const {
    std::vector<std::int64_t> result(static_cast<std::size_t>(space_.rank()), 0);
    std::size_t next = 0;
    for (std::size_t d = 0; d < result.size(); ++d) {
      if (program_.folded[d]) {
        next += node.as<ReduceAttributes>().keep_dims ? 1 : 0;
      } else {
        result[d] = space_[static_cast<int>(d)] == 1 ? 0 : strides[next];
        ++next;
      }
    }
    return result;
  }

  Register append(LoopInstruction instruction) {
    instruction.result = static_cast<Register>(producers_.size());
    producers_.push_back(program_.code.size());
    program_.code.push_back(instruction);
    return instruction.result;
  }

  // The register of a value; loads inputs and constants where they are first used.
  Register use(ValueId value, std::string& refused) {
    if (registers_[value] != kNone) return registers_[value];
    const DType dtype = body_.type(value).dtype;
    LoopInstruction load{.op = LoopOp::load, .from = dtype, .to = dtype, .operand = body_.values()[value].output};
    if (const ConstantData* constant = body_.constant(value)) {
      double splat = 0;
      if (constant->shape.elements() == 0) {
        splat = 0;
      } else if (constant->shape.elements() != 1 && !splat_value(*constant, splat)) {
        refuse(refused, "a constant that is not a splat");
        return kNone;
      } else if (constant->shape.elements() == 1) {
        splat = element_as_double(*constant, 0);
      }
      const bool integer = !is_floating(dtype) && constant->shape.elements() > 0;
      load.op = LoopOp::constant;
      load.operand = static_cast<std::uint32_t>(program_.constants.size());
      program_.constants.push_back({dtype, splat, integer ? element_as_int(*constant, 0) : 0});
    }
    return registers_[value] = append(load);
  }

  // Outermost first in memory: as the first operand that tells two dimensions apart has them.
  void order_dimensions() {
    std::vector<std::size_t> order;
    for (std::size_t d = 0; d < program_.extents.size(); ++d) order.push_back(d);
    std::vector<const LoopOperand*> operands;
    for (const LoopOperand& operand : program_.outputs) operands.push_back(&operand);
    for (const LoopOperand& operand : program_.inputs) operands.push_back(&operand);
    // Fully present operands decide before those that broadcast or were folded.
    std::ranges::stable_sort(operands, [&](const LoopOperand* a, const LoopOperand* b) {
      return std::ranges::count(a->strides, 0) < std::ranges::count(b->strides, 0);
    });
    const auto outer = [&](std::size_t a, std::size_t b) {
      for (const LoopOperand* operand : operands) {
        const std::int64_t left = std::abs(operand->strides[a]), right = std::abs(operand->strides[b]);
        if (left != 0 && right != 0 && left != right) return left > right;
      }
      return false;
    };
    // Insertion: the relation is not transitive where operands disagree, which std::sort must not see.
    for (std::size_t i = 1; i < order.size(); ++i) {
      for (std::size_t j = i; j > 0 && outer(order[j], order[j - 1]); --j) std::swap(order[j], order[j - 1]);
    }
    permute(order);
  }

  void permute(const std::vector<std::size_t>& order) {
    const auto apply = [&](const auto& from) {
      auto to = from;
      to.clear();
      for (const std::size_t d : order) to.push_back(from[d]);
      return to;
    };
    program_.extents = apply(program_.extents);
    program_.folded = apply(program_.folded);
    for (LoopOperand& operand : program_.inputs) operand.strides = apply(operand.strides);
    for (LoopOperand& operand : program_.outputs) operand.strides = apply(operand.strides);
  }

  // Drops extents of 1 and joins neighbours that every operand walks through as one.
  void collapse_dimensions() {
    std::vector<std::size_t> kept;
    for (std::size_t d = 0; d < program_.extents.size(); ++d) {
      if (program_.extents[d] != 1) kept.push_back(d);
    }
    permute(kept);
    const auto joins = [&](std::size_t d) {
      const auto one_walk = [&](const LoopOperand& operand) {
        return operand.strides[d] == operand.strides[d + 1] * program_.extents[d + 1];
      };
      return program_.folded[d] == program_.folded[d + 1] && std::ranges::all_of(program_.inputs, one_walk) &&
             std::ranges::all_of(program_.outputs, one_walk);
    };
    for (std::size_t d = program_.extents.size(); d-- > 0;) {
      if (d + 1 >= program_.extents.size() || !joins(d)) continue;
      const auto at = static_cast<std::ptrdiff_t>(d);
      program_.extents[d + 1] *= program_.extents[d];
      program_.extents.erase(program_.extents.begin() + at);
      program_.folded.erase(program_.folded.begin() + at);
      for (LoopOperand& operand : program_.inputs) operand.strides.erase(operand.strides.begin() + at);
      for (LoopOperand& operand : program_.outputs) operand.strides.erase(operand.strides.begin() + at);
    }
  }

  // What does not change from tile to tile goes first: it is loaded once and keeps its registers.
  void hoist_invariants() {
    const auto is_load = [&](const LoopInstruction& instruction, auto strides_fit) {
      return instruction.op == LoopOp::load && strides_fit(std::span(program_.inputs[instruction.operand].strides));
    };
    const auto zeros = [](std::span<const std::int64_t> strides) {
      return std::ranges::all_of(strides, [](std::int64_t stride) { return stride == 0; });
    };
    const auto scalar = [&](const LoopInstruction& instruction) {
      return instruction.op == LoopOp::constant || is_load(instruction, zeros);
    };
    const auto row = [&](const LoopInstruction& instruction) {
      return is_load(instruction, [&](std::span<const std::int64_t> strides) {
        return strides.size() > 1 && zeros(strides.first(strides.size() - 1));
      });
    };
    const auto rows = std::stable_partition(program_.code.begin(), program_.code.end(), scalar);
    program_.scalars = static_cast<std::size_t>(rows - program_.code.begin());
    program_.rows = static_cast<std::size_t>(std::stable_partition(rows, program_.code.end(), row) - rows);
  }

  // Linear scan: a register is free again after its value was read for the last time.
  void assign_registers() {
    std::vector<std::size_t> last_use(producers_.size(), 0);
    for (std::size_t i = 0; i < program_.code.size(); ++i) {
      for (const Register r : read_by(program_.code[i])) last_use[r] = i;
    }
    for (std::size_t i = 0; i < program_.scalars + program_.rows; ++i) {
      last_use[program_.code[i].result] = program_.code.size();
    }
    std::vector<Register> assigned(producers_.size(), kNone), free;
    for (std::size_t i = 0; i < program_.code.size(); ++i) {
      LoopInstruction& instruction = program_.code[i];
      const std::vector<Register> reads = read_by(instruction);
      Register* const operands[] = {&instruction.a, &instruction.b, &instruction.c};
      for (std::size_t k = 0; k < reads.size(); ++k) *operands[k] = assigned[reads[k]];
      // The result first: kernels may not write over what they read when widths differ.
      if (instruction.op != LoopOp::store && !is_fold(instruction.op)) {
        Register taken = program_.registers;
        if (free.empty()) {
          ++program_.registers;
        } else {
          taken = free.back();
          free.pop_back();
        }
        assigned[instruction.result] = taken;
        if (last_use[instruction.result] == 0) free.push_back(taken);
        instruction.result = taken;
      }
      for (std::size_t k = 0; k < reads.size(); ++k) {
        const bool first = std::find(reads.begin(), reads.begin() + static_cast<std::ptrdiff_t>(k), reads[k]) ==
                           reads.begin() + static_cast<std::ptrdiff_t>(k);
        if (first && last_use[reads[k]] == i) free.push_back(assigned[reads[k]]);
      }
    }
  }

  static std::vector<Register> read_by(const LoopInstruction& instruction) {
    switch (instruction.op) {
      case LoopOp::load:
      case LoopOp::constant: return {};
      case LoopOp::select: return {instruction.a, instruction.b, instruction.c};
      default: break;
    }
    constexpr auto kFirstBinary = LoopOp::add;
    if (instruction.op >= kFirstBinary) return {instruction.a, instruction.b};
    return {instruction.a};
  }

  static bool refuse(std::string& refused, const char* why) {
    refused = why;
    return false;
  }

  static constexpr Register kNone = std::numeric_limits<Register>::max();
  const Graph& body_;
  std::span<const Strides> input_strides_, output_strides_;
  Shape space_;
  std::vector<bool> folded_value_;      // per value: the result of a fold
  std::vector<Register> registers_;     // per value
  std::vector<std::size_t> producers_;  // per register, before they are assigned: its instruction
  LoopProgram program_;
};

}  // namespace

std::optional<LoopOp> loop_op(std::string_view name) {
  for (const auto& [known, op] : kNames) {
    if (known == name) return op;
  }
  return std::nullopt;
}

std::int64_t LoopProgram::points() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : extents) product *= extent;
  return product;
}

bool LoopProgram::has_folds() const {
  return std::ranges::any_of(code, [](const LoopInstruction& instruction) { return is_fold(instruction.op); });
}

std::optional<LoopProgram> compile_loop(const Graph& body, std::span<const Strides> inputs,
                                        std::span<const Strides> outputs, std::string& refused) {
  return Compiler(body, inputs, outputs).run(refused);
}

Graph single_node(const Op& op, const AttributesPtr& attributes, std::span<const TensorType> inputs) {
  Graph graph;
  std::vector<ValueId> values;
  for (std::size_t i = 0; i < inputs.size(); ++i) values.push_back(graph.add_input("x" + std::to_string(i), inputs[i]));
  const ValueId first = graph.add(op, attributes, values);
  const std::uint32_t count = graph.nodes().back().output_count;
  for (std::uint32_t i = 0; i < count; ++i) graph.add_output("y" + std::to_string(i), first + i);
  return graph;
}

bool fuses(const Node& node) {
  return is_broadcast(node) || (loop_op(node.op->name).has_value() && node.output_count == 1);
}

}  // namespace ml::codegen
