// ai.onnx.ml: what maps numbers to numbers. Forests of trees are in ops_trees.cpp.
#include <algorithm>

#include "engine/formats/onnx/extents.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;
constexpr const char* kDomain = "ai.onnx.ml";

// Elements of the last axis; a vector counts as one row.
Results array_feature_extractor(Node n) {
  Var x = n.in(0);
  if (x.rank() == 0) n.invalid("it takes elements of a scalar");
  if (x.rank() == 1) x = unsqueeze(x, {0});
  return {gather(x, reshape(n.in(1), Shape{kUnknown}), x.rank() - 1)};
}

Results binarizer(Node n) {
  const Var x = n.in(0);
  return {cast(gt(x, n.number("threshold", 0)), x.dtype())};
}

// A vector from attributes of one kind or the other; nothing when there is none of them.
Var list_of(Node n, const std::string& name, DType dtype) {
  if (n.has_attribute(name + "_strings")) n.unsupported("a map of strings");
  if (const ConstantPtr tensor = n.tensor(name + "_tensor")) return reshape(constant(n.graph, tensor), Shape{kUnknown});
  if (const Ints values = n.ints(name + "_int64s"); !values.empty()) return cast(vector_of(n.graph, values), dtype);
  const std::vector<float> values = n.numbers(name + "_floats");
  if (values.empty()) n.invalid("it has no " + name);
  return constant(n.graph, make_constant(DType::f32, Shape{static_cast<std::int64_t>(values.size())},
                                         std::as_bytes(std::span(values))));
}

Var default_of(Node n, DType dtype) {
  if (const ConstantPtr tensor = n.tensor("default_tensor")) {
    if (tensor->shape.elements() != 1) n.invalid("its default is " + tensor->shape.str() + ", one value is wanted");
    return cast(reshape(constant(n.graph, tensor), {}), dtype);
  }
  if (dtype == DType::i64) return number_of(n.graph, n.integer("default_int64", -1));
  return scalar(n.graph, dtype, is_floating(dtype) ? n.number("default_float", -0.0) : -1);
}

// Every element is compared with every key. The last of equal keys counts, and NaN is a key like others.
Results label_encoder(Node n) {
  if (n.version() < 2 || n.has_attribute("classes_strings")) n.unsupported("a map of strings");
  const Var x = n.in(0);
  const Var keys = n.settled(list_of(n, "keys", DType::i64)), values = n.settled(list_of(n, "values", DType::i64));
  if (keys.dtype() != x.dtype())
    n.invalid("its keys are " + std::string(dtype_name(keys.dtype())) + ", its input is " + describe(n.value(0)));
  if (keys.shape() != values.shape()) n.invalid(keys.shape().str() + " keys and " + values.shape().str() + " values");
  const Var element = unsqueeze(x, {x.rank()});
  Var same = eq(element, keys);
  if (is_floating(x.dtype())) same = logical_or(same, logical_and(is_nan(element), is_nan(keys)));
  const Var places = iota(n.graph, DType::i64, keys.shape(), 0);
  const Var last = reduce_max(select(same, places, scalar(n.graph, DType::i64, -1)), {x.rank()});
  return {select(lt(last, 0.0), default_of(n, values.dtype()), gather(values, maximum(last, 0.0), 0))};
}

constexpr Operator kOperators[] = {
    {"ArrayFeatureExtractor", 1, kAny, array_feature_extractor, kDomain},
    {"Binarizer", 1, kAny, binarizer, kDomain},
    {"LabelEncoder", 1, kAny, label_encoder, kDomain},
};

}  // namespace

std::span<const Operator> ml_operators() { return kOperators; }

}  // namespace ml::onnx
