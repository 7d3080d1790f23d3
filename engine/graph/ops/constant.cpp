#include "engine/graph/constant.h"

#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

std::vector<TensorType> infer_constant(const InferArguments& a) {
  const ConstantPtr& value = a.as<ConstantAttributes>().value;
  if (!value || !value->blob) rules::fail(a, "has no value");
  if (!value->shape.known()) rules::fail(a, "has the unknown shape " + value->shape.str());
  const std::uint64_t size = value->blob->size();
  if (static_cast<std::uint64_t>(value->shape.elements()) > size / dtype_size(value->dtype)) {
    rules::fail(
        a, rules::text({value->dtype, value->shape}) + " does not fit in a blob of " + std::to_string(size) + " bytes");
  }
  const std::uint64_t length = value->length();
  if (length > size || value->offset > size - length) {
    rules::fail(a, "its bytes [" + std::to_string(value->offset) + ", +" + std::to_string(length) +
                       ") lie outside of a blob of " + std::to_string(size) + " bytes");
  }
  return {{value->dtype, value->shape}};
}

constexpr Op kOps[] = {
    {.name = "constant",
     .kind = OpKind::constant,
     .min_inputs = 0,
     .max_inputs = 0,
     .infer = infer_constant,
     .gradient = no_gradient("it has no inputs"),
     .make_attributes = attributes_of<ConstantAttributes>,
     .flops = rules::no_flops},
};

}  // namespace

std::span<const Op> constant_ops() { return kOps; }

}  // namespace ml
