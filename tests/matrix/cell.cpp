#include "tests/matrix/cell.h"

#include <algorithm>
#include <cmath>

#include "engine/graph/scalar.h"
#include "ml/error.h"
#include "tests/matrix/targets.h"

namespace ml::test {
namespace {

constexpr std::int64_t kLargeElements = 8192;

HostTensor constant_tensor(const Input& input) {
  HostTensor tensor{*input.dtype, input.shape, {}};
  const std::size_t size = dtype_size(tensor.dtype);
  tensor.bytes.resize(input.constant.size() * size);
  for (std::size_t i = 0; i < input.constant.size(); ++i)
    store_int(tensor.dtype, &tensor.bytes[i * size], input.constant[i]);
  return tensor;
}

std::vector<bool> known_inputs(const Sample& sample) {
  std::vector<bool> known;
  for (const Input& input : sample.inputs) known.push_back(!input.constant.empty());
  return known;
}

HostTensor converted(const HostTensor& tensor, DType dtype) {
  HostTensor result{dtype, tensor.shape, {}};
  const std::size_t from = dtype_size(tensor.dtype), to = dtype_size(dtype);
  const std::size_t count = tensor.bytes.size() / from;
  result.bytes.resize(count * to);
  for (std::size_t i = 0; i < count; ++i)
    store_double(dtype, &result.bytes[i * to], load_double(tensor.dtype, &tensor.bytes[i * from]));
  return result;
}

// A composite in a 16-bit dtype is judged by what it is in f32: a kernel for it does not round in between, while the
// decomposition rounds after every step.
Result wide_result(const Cell& cell, const Sample& sample) {
  std::vector<HostTensor> inputs;
  for (const HostTensor& tensor : cell.inputs)
    inputs.push_back(is_differentiable(tensor.dtype) ? converted(tensor, DType::f32) : tensor);
  // A body has the dtype inside; other attributes say what to compute, of which only the rounding changes.
  const bool carries_body = dynamic_cast<const BodyAttributes*>(cell.attributes.get()) != nullptr;
  const AttributesPtr attributes = carries_body ? sample.attributes(DType::f32) : cell.attributes;
  Result result = run_graph(oracle(), graph_of(cell.op, attributes, inputs, known_inputs(sample)), inputs);
  for (std::size_t i = 0; i < result.outputs.size(); ++i) {
    const DType dtype = cell.graph.type(cell.graph.outputs()[i].value).dtype;
    if (is_floating(dtype)) result.outputs[i] = converted(result.outputs[i], dtype);
  }
  return result;
}

HostTensor magnitude(HostTensor tensor) {
  if (!is_floating(tensor.dtype)) return tensor;
  const std::size_t size = dtype_size(tensor.dtype);
  for (std::size_t at = 0; at < tensor.bytes.size(); at += size)
    store_double(tensor.dtype, &tensor.bytes[at], std::fabs(load_double(tensor.dtype, &tensor.bytes[at])));
  return tensor;
}

double terms(const Cell& cell) {
  std::size_t most = 1;
  for (const HostTensor& tensor : cell.inputs) most = std::max(most, tensor.bytes.size() / dtype_size(tensor.dtype));
  return static_cast<double>(most);
}

}  // namespace

std::vector<TensorType> Cell::input_types() const {
  std::vector<TensorType> types;
  for (const HostTensor& tensor : inputs) types.push_back({tensor.dtype, tensor.shape});
  return types;
}

std::optional<Cell> make_cell(const Op& op, const Sample& sample, DType dtype) {
  Cell cell{.op = op,
            .attributes = std::make_shared<NoAttributes>(),
            .name = std::string(op.name) + " " + std::string(dtype_name(dtype)) + " '" + sample.label + "'"};
  std::vector<TensorType> types;
  for (const Input& input : sample.inputs) types.push_back({input.dtype.value_or(dtype), input.shape});
  try {
    if (sample.attributes) cell.attributes = sample.attributes(dtype);
    infer(op, types, *cell.attributes);
  } catch (const Error& error) {
    if (error.code() != Code::invalid_argument) throw;
    return std::nullopt;
  }
  std::mt19937_64 random = random_for(cell.name);
  for (std::size_t i = 0; i < types.size(); ++i) {
    const Input& input = sample.inputs[i];
    const bool known = !input.constant.empty();
    cell.inputs.push_back(known ? constant_tensor(input)
                                : random_tensor(types[i].dtype, types[i].shape, input.values, input.limit, random));
    if (!known) cell.feed.push_back(cell.inputs.back());
    cell.large |= types[i].shape.elements() > kLargeElements;
    cell.largest = std::max(cell.largest, largest_magnitude(cell.inputs.back()));
  }
  cell.graph = graph_of(op, cell.attributes, cell.inputs, known_inputs(sample));

  const bool judged_wide = op.kind == OpKind::composite && is_floating(dtype) && dtype_size(dtype) == 2;
  cell.expected = judged_wide ? wide_result(cell, sample) : run_graph(oracle(), cell.graph, cell.feed);
  bool sums = false;
  for (const HostTensor& tensor : cell.expected.outputs) {
    cell.large |= tensor.shape.elements() > kLargeElements;
    cell.largest = std::max(cell.largest, largest_magnitude(tensor));
    cell.tolerances.push_back(tolerance_of(op, tensor.dtype, terms(cell)));
    sums |= cell.tolerances.back().of_sum > 0;
  }
  if (sums) {
    std::vector<HostTensor> magnitudes;
    for (const HostTensor& tensor : cell.feed) magnitudes.push_back(magnitude(tensor));
    cell.sums = run_graph(oracle(), cell.graph, magnitudes);
  }
  return cell;
}

}  // namespace ml::test
