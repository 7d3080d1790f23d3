// An op is one row: everything the engine knows about it stands together. Rows live in ops/<family>.cpp.
//
// Adding an op is adding its row, its builder function beside it, and a kernel (or a decomposition) in engine/backends;
// nothing else lists ops.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/graph/attributes.h"

namespace ml {

struct TensorType {
  DType dtype = DType::f32;
  Shape shape;
  friend bool operator==(const TensorType&, const TensorType&) = default;
};

struct Var;

// What passes may assume of an op without knowing it.
enum class OpKind : std::uint8_t {
  elementwise,  // output[i] depends on input[i] alone, inputs broadcast: can be fused
  reduction,    // folds the axes of ReduceAttributes away: can end a fused kernel
  movement,     // moves elements without looking at them (reshape, transpose, slice, concat, ...) or counts them (iota)
  indexed,      // addresses or order matter (gather, scatter, sort, argmax, cumulative sum, ...)
  contraction,  // matmul, convolution: worth a library
  composite,    // has a decomposition and may have a native kernel
  random,       // reads a counter-based generator
  control,      // carries subgraphs
  dynamic,      // its shape depends on a tensor; only in graphs that are not bound, needs no kernel
  constant,
};

// What a shape rule sees. Extents may be kUnknown and then only make results unknown.
struct InferArguments {
  std::string_view op;
  std::span<const TensorType> inputs;
  const Attributes& attributes;

  template <class T>
  const T& as() const {
    return static_cast<const T&>(attributes);
  }
  const Shape& shape(std::size_t i) const { return inputs[i].shape; }
  DType dtype(std::size_t i) const { return inputs[i].dtype; }
};
using InferRule = std::vector<TensorType> (*)(const InferArguments&);

// What gradient rules and decompositions see: Vars of the graph that they append to.
struct RuleArguments {
  Graph& graph;
  std::span<const Var> inputs;
  std::span<const Var> outputs;     // gradient only: the values the op produced
  std::span<const Var> cotangents;  // gradient only: one per output, invalid where the output does not matter
  const AttributesPtr& attributes;
  std::span<const std::uint8_t> wanted = {};  // gradient only: per input, whether anyone asks for its cotangent

  template <class T>
  const T& as() const {
    return static_cast<const T&>(*attributes);
  }
};

// One Var per input, invalid where the gradient is zero. A cotangent may have the shape broadcasting gave it: autodiff
// sums it back.
using GradientRule = std::vector<Var> (*)(const RuleArguments&);
struct Gradient {
  GradientRule rule = nullptr;
  const char* none = nullptr;  // why there is none; exactly one of the two is set
};
constexpr Gradient gradient_by(GradientRule rule) { return {rule, nullptr}; }
constexpr Gradient no_gradient(const char* why) { return {nullptr, why}; }

// One Var per output, of exactly the output's type.
using Decomposition = std::vector<Var> (*)(const RuleArguments&);

struct Cost {
  double flops = 0;
  double bytes = 0;  // read and written if nothing is cached or fused
};
// For rows whose result depends on extents or on small tensors: their static form, once `constants` (per input, null
// where it is none) and the inputs' shapes tell enough, otherwise nothing. Binding a graph calls it.
using Specialization = std::vector<Var> (*)(const RuleArguments&, std::span<const ConstantData* const> constants);
using CostRule = double (*)(const InferArguments&, std::span<const TensorType> outputs);  // FLOPs

inline constexpr std::uint8_t kVariadic = 255;

struct Op {
  std::string_view name;
  OpKind kind;
  std::uint8_t min_inputs;
  std::uint8_t max_inputs;  // trailing inputs beyond min_inputs are optional; kVariadic: any number
  InferRule infer;
  Gradient gradient;
  std::unique_ptr<Attributes> (*make_attributes)() = nullptr;  // null: NoAttributes
  Decomposition decompose = nullptr;                           // null: a primitive, every backend has a kernel
  Specialization specialize = nullptr;                         // null: nothing to do when shapes become known
  CostRule flops = nullptr;                                    // null: one FLOP per output element
};

template <class T>
std::unique_ptr<Attributes> attributes_of() {
  return std::make_unique<T>();
}

// All rows, in a fixed order.
std::span<const Op* const> all_ops();
// The row of that name; find_op throws not_found, lookup_op answers null.
const Op& find_op(std::string_view name);
const Op* lookup_op(std::string_view name) noexcept;

// The types of the outputs; throws ml::Error that begins with the op's name when arity, dtypes or shapes do not fit.
std::vector<TensorType> infer(const Op& op, std::span<const TensorType> inputs, const Attributes& attributes);
Cost cost(const Op& op, std::span<const TensorType> inputs, std::span<const TensorType> outputs,
          const Attributes& attributes);

}  // namespace ml
