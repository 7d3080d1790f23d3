// What a name of an ONNX graph stands for while the model is imported. Sequences and optionals end here: the graph that
// is written holds their tensors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/graph/build.h"

namespace ml::onnx {

struct Value {
  enum class Kind : std::uint8_t { missing, tensor, sequence, optional };

  Kind kind = Kind::missing;
  Var tensor;                   // a tensor itself; of an optional bool[]: whether it holds something
  std::vector<Value> elements;  // of a sequence: tensors; of an optional: what it holds, none if it's known to be empty

  Value() = default;
  Value(Var value) : kind(value ? Kind::tensor : Kind::missing), tensor(value) {}  // NOLINT: a tensor is a value

  static Value sequence(std::vector<Value> elements);
  static Value optional(Var present, std::vector<Value> content);
};

// "a tensor", "a sequence of 3 tensors", "an empty optional", ...
std::string describe(const Value& value);

// The tensors of a value in a fixed order, and the value of the same structure that holds others.
void append_leaves(const Value& value, std::vector<Var>& leaves);
std::vector<Var> leaves_of(std::span<const Value> values);
Value with_leaves(const Value& pattern, std::span<const Var>& leaves);
std::vector<Value> with_leaves(std::span<const Value> patterns, std::span<const Var> leaves);
// Of the same kinds and lengths; types of tensors aside.
bool same_structure(const Value& a, const Value& b);

}  // namespace ml::onnx
