#include "engine/backends/reference/kernel.h"

#include <algorithm>
#include <string>

#include "ml/error.h"

namespace ml::reference {
namespace {

constexpr std::span<const Row> (*kFamilies[])() = {
    constant_rows, elementwise_rows, reduce_rows,      movement_rows,
    indexing_rows, matmul_rows,      convolution_rows, random_rows,
};

std::vector<Row> gather_rows() {
  std::vector<Row> all;
  for (const auto family : kFamilies) all.insert(all.end(), family().begin(), family().end());
  return all;
}

const Row& find_row(std::string_view op) {
  const auto found = std::ranges::find(rows(), op, &Row::op);
  if (found == rows().end()) throw Error(Code::internal, std::string(op) + ": no reference kernel");
  return *found;
}

std::vector<Tensor> bind(const std::vector<Operand>& operands, std::span<std::byte* const> data) {
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < operands.size(); ++i) tensors.push_back({&operands[i], data[i]});
  return tensors;
}

std::uint64_t bytes_of(const Operand& operand) {
  return static_cast<std::uint64_t>(operand.type.shape.elements()) * dtype_size(operand.type.dtype);
}

}  // namespace

std::span<const Row> rows() {
  static const std::vector<Row> all = gather_rows();
  return all;
}

Program::Program(const KernelRequest& request)
    : row_(&find_row(request.op.name)),
      attributes_(request.attributes),
      inputs_(request.inputs),
      outputs_(request.outputs) {}

bool Program::in_place(std::size_t input, std::size_t output) const {
  return bytes_of(inputs_[input]) == bytes_of(outputs_[output]);
}

bool Program::run(std::span<std::byte* const> inputs, std::span<std::byte* const> outputs) const {
  bool index_error = false;
  const std::vector<Tensor> from = bind(inputs_, inputs), to = bind(outputs_, outputs);
  row_->compute({*attributes_, from, to, index_error});
  return index_error;
}

}  // namespace ml::reference
