#include "engine/backends/cpu/attention_shape.h"

#include "engine/graph/ops/attention.h"

namespace ml::cpu {
namespace {

AttentionShape::Strides outer_strides(const Operand& operand) {
  const std::vector<std::int64_t>& strides = operand.layout.strides;
  return {strides[0], strides[1], strides[2]};
}

bool dense_rows(const Operand& operand) {
  const Shape& shape = operand.type.shape;
  return shape[shape.rank() - 1] <= 1 || operand.layout.strides.back() == 1;
}

}  // namespace

AttentionShape::AttentionShape(const KernelRequest& request) {
  const auto& attributes = request.as<AttentionAttributes>();
  const Shape &qs = request.inputs[0].type.shape, &ks = request.inputs[1].type.shape;
  batch = qs[0];
  groups = ks[1];
  repeats = groups == 0 ? 0 : qs[1] / groups;
  queries = qs[2];
  keys = ks[2];
  depth = qs[3];
  width = request.inputs[2].type.shape[3];
  scale = attributes.scale;
  softcap = attributes.softcap;
  causal = attributes.causal;
  q = outer_strides(request.inputs[0]);
  k = outer_strides(request.inputs[1]);
  v = outer_strides(request.inputs[2]);
  y = outer_strides(request.outputs[0]);
  log_sum_exp = outer_strides(request.outputs[1]);
  const AttentionInputs optional =
      attention_inputs(request.inputs.size(), [&](std::size_t i) { return request.inputs[i].type.dtype; });
  bias_input = optional.bias;
  lengths_input = optional.lengths;
  if (bias_input != 0) {
    const Operand& given = request.inputs[bias_input];
    bias_hides = given.type.dtype == DType::boolean;
    const int rank = given.type.shape.rank();
    for (int d = 0; d < rank; ++d) {
      if (given.type.shape[d] != 1)
        bias[static_cast<std::size_t>(4 - rank + d)] = given.layout.strides[static_cast<std::size_t>(d)];
    }
  }
  wide_lengths = lengths_input != 0 && request.inputs[lengths_input].type.dtype == DType::i64;
}

double AttentionShape::flops() const {
  return 2.0 * static_cast<double>(batch * groups) * static_cast<double>(rows()) * static_cast<double>(keys) *
         static_cast<double>(depth + width);
}

const char* refuse_attention(const KernelRequest& request) {
  if (request.inputs[0].type.dtype != DType::f32) return refusal::kDType;
  constexpr std::int64_t kMostKeys = 1 << 24;      // counted in f32
  constexpr std::int64_t kMostElements = 1 << 12;  // of a head: scratch is a few rows of them
  const AttentionShape shape(request);
  if (shape.batch == 0 || shape.rows() == 0 || shape.keys == 0 || shape.depth == 0 || shape.width == 0)
    return refusal::kSize;
  if (shape.keys > kMostKeys || shape.depth > kMostElements || shape.width > kMostElements) return refusal::kSize;
  for (std::size_t i = 0; i < 3; ++i) {
    if (!dense_rows(request.inputs[i])) return refusal::kLayout;
  }
  return dense_rows(request.outputs[0]) ? nullptr : refusal::kLayout;
}

}  // namespace ml::cpu
