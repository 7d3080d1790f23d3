#include "engine/backends/backend.h"

#include <algorithm>

#include "ml/error.h"

namespace ml {
namespace {

// "f32[2, 3], f32[3, 4]"
std::string list(const std::vector<Operand>& operands) {
  std::string text;
  for (const Operand& operand : operands) {
    if (!text.empty()) text += ", ";
    text += dtype_name(operand.type.dtype);
    text += operand.type.shape.str();
    if (operand.layout != row_major(operand.type.shape)) text += " strided";
  }
  return text;
}

// The first row that takes the request, null when none does; `refused` sees the others.
template <class Refused>
const Implementation* find(const Device& device, const KernelRequest& request, Refused refused) {
  for (const Implementation& row : device.implementations()) {
    if (row.op != request.op.name) continue;
    const char* why = row.refuse ? row.refuse(request) : nullptr;
    if (!why) return &row;
    refused(row, why);
  }
  return nullptr;
}

}  // namespace

Layout row_major(const Shape& shape) {
  Layout layout;
  layout.strides.resize(static_cast<std::size_t>(shape.rank()));
  std::int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    layout.strides[static_cast<std::size_t>(axis)] = stride;
    stride *= std::max<std::int64_t>(shape[axis], 1);
  }
  return layout;
}

Layout permuted(const Shape& shape, std::span<const int> order) {
  std::vector<bool> seen(static_cast<std::size_t>(shape.rank()));
  bool valid = order.size() == seen.size();
  for (std::size_t i = 0; valid && i < order.size(); ++i) {
    valid = order[i] >= 0 && order[i] < shape.rank() && !seen[static_cast<std::size_t>(order[i])];
    if (valid) seen[static_cast<std::size_t>(order[i])] = true;
  }
  if (!valid)
    throw Error(Code::invalid_argument, "layout: the order is no permutation of the dimensions of " + shape.str());
  Layout layout;
  layout.strides.resize(order.size());
  std::int64_t stride = 1;
  for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
    layout.strides[static_cast<std::size_t>(*axis)] = stride;
    stride *= std::max<std::int64_t>(shape[*axis], 1);
  }
  return layout;
}

const Implementation& choose(const Device& device, const KernelRequest& request) {
  std::string reasons;
  const Implementation* found = find(device, request, [&](const Implementation& row, const char* why) {
    reasons += reasons.empty() ? "" : "; ";
    reasons += std::string(row.kernel) + ": " + why;
  });
  if (found) return *found;
  if (reasons.empty()) reasons = "it has no row for this op";
  throw Error(Code::unsupported,
              std::string(request.op.name) + ": " + std::string(device.name()) + " has no kernel for (" +
                  list(request.inputs) + ") -> (" + list(request.outputs) + "): " + reasons,
              {}, "cast or reshape the operands, or run on another device");
}

bool implements(const Device& device, const KernelRequest& request) {
  return find(device, request, [](const Implementation&, const char*) {}) != nullptr;
}

}  // namespace ml
