// Shape rules of softmax, losses, norms, random numbers, optimizer steps and detection.
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/norm.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {
namespace {

const ShapeCase kSoftmax[] = {
    {"dft", [](Graph& g) { return dft(in(g, "f16[3, ?, 2]")); }, "f16[3, ?, 2]"},
    {"dft of real numbers", [](Graph& g) { return dft(in(g, "f32[?, 9, 1]"), false, true); }, "f32[?, 5, 2]"},
    {"dft of triples", [](Graph& g) { return dft(in(g, "f32[8, 3]")); },
     "! dft: wants real or complex numbers [..., n, 1] or [..., n, 2], got f32[8, 3]"},
    {"dft of integers", [](Graph& g) { return dft(in(g, "i32[8, 2]")); }, "! dft: wants a floating dtype"},
    {"softmax", [](Graph& g) { return softmax(in(g, "f16[2, ?, 4]"), 1); }, "f16[2, ?, 4]"},
    {"softmax of nothing", [](Graph& g) { return softmax(in(g, "f32[2, 0]")); }, "f32[2, 0]"},
    {"softmax of integers", [](Graph& g) { return softmax(in(g, "i32[2]")); },
     "! softmax: wants a floating dtype, got i32[2]"},
    {"softmax along a missing axis", [](Graph& g) { return softmax(in(g, "f32[2]"), 1); }, "! softmax: axis 1"},
    {"log_softmax", [](Graph& g) { return log_softmax(in(g, "f64[3, 4]")); }, "f64[3, 4]"},
    {"log_softmax of integers", [](Graph& g) { return log_softmax(in(g, "i32[2]")); }, "! log_softmax: wants"},
    {"cross_entropy", [](Graph& g) { return cross_entropy(in(g, "bf16[?, 5, 10]"), in(g, "i64[?, 5]")).loss; },
     "bf16[?, 5] f32[?, 5]"},
    {"cross_entropy of one example", [](Graph& g) { return cross_entropy(in(g, "f64[10]"), in(g, "i32[]")).loss; },
     "f64[] f64[]"},
    {"cross_entropy of other examples",
     [](Graph& g) { return cross_entropy(in(g, "f32[4, 10]"), in(g, "i32[5]")).loss; },
     "! cross_entropy: labels [5] do not fit logits [4, 10], whose last dimension is the classes"},
    {"cross_entropy of probabilities",
     [](Graph& g) { return cross_entropy(in(g, "f32[4, 10]"), in(g, "f32[4, 10]")).loss; },
     "! cross_entropy: wants i32 or i64 indices, got f32[4, 10]"},
    {"cross_entropy without classes", [](Graph& g) { return cross_entropy(in(g, "f32[]"), in(g, "i32[]")).loss; },
     "! cross_entropy: logits want a class dimension"},
};

// The gradient rows have no builders: their forward rows' gradients make them.
Var batch_gradient(Graph& g, const char* dy, const char* x, const char* statistic, const char* scale) {
  return emit("batch_norm_gradient", {in(g, dy), in(g, x), in(g, statistic), in(g, statistic), in(g, scale)});
}

const ShapeCase kNorm[] = {
    {"batch_norm", [](Graph& g) { return batch_norm(in(g, "f32[8, 3, 5, ?]"), in(g, "f32[3]"), in(g, "f32[3]")).y; },
     "f32[8, 3, 5, ?] f32[3] f32[3] f32[3]"},
    {"batch_norm without parameters", [](Graph& g) { return batch_norm(in(g, "f16[8, 3]"), {}, {}).y; },
     "f16[8, 3] f32[3] f32[3] f32[3]"},
    {"batch_norm with wide parameters", [](Graph& g) { return batch_norm(in(g, "bf16[8, 3]"), in(g, "f32[3]"), {}).y; },
     "bf16[8, 3] f32[3] f32[3] f32[3]"},
    {"batch_norm of a vector", [](Graph& g) { return batch_norm(in(g, "f32[8]"), {}, {}).y; },
     "! batch_norm: wants [N, C, ...], got shape [8]"},
    {"batch_norm with a bias alone", [](Graph& g) { return batch_norm(in(g, "f32[8, 3]"), {}, in(g, "f32[3]")).y; },
     "! batch_norm: a bias needs a scale"},
    {"batch_norm with another scale", [](Graph& g) { return batch_norm(in(g, "f32[8, 3]"), in(g, "f32[8]"), {}).y; },
     "! batch_norm: scale f32[8] wants shape [3]"},
    {"batch_norm with narrow parameters",
     [](Graph& g) { return batch_norm(in(g, "f32[8, 3]"), in(g, "f16[3]"), {}).y; },
     "! batch_norm: scale f16[3] wants dtype f32 or f32"},
    {"batch_norm_gradient",
     [](Graph& g) { return batch_gradient(g, "f16[8, 3, 4]", "f16[8, 3, 4]", "f32[3]", "f16[3]"); },
     "f16[8, 3, 4] f16[3] f16[3]"},
    {"batch_norm_gradient of another shape",
     [](Graph& g) { return batch_gradient(g, "f32[8, 3, 5]", "f32[8, 3, 4]", "f32[3]", "f32[3]"); },
     "! batch_norm_gradient: the gradient f32[8, 3, 5] does not have the type of the result f32[8, 3, 4]"},
    {"batch_norm_inference",
     [](Graph& g) {
       return batch_norm_inference(in(g, "f32[?, 3, 5]"), in(g, "f32[3]"), in(g, "f32[3]"), in(g, "f32[3]"),
                                   in(g, "f32[3]"));
     },
     "f32[?, 3, 5]"},
    {"batch_norm_inference with another variance",
     [](Graph& g) { return batch_norm_inference(in(g, "f32[2, 3]"), in(g, "f32[3]"), in(g, "f32[2]"), {}, {}); },
     "! batch_norm_inference: variance f32[2] wants shape [3]"},
    {"layer_norm",
     [](Graph& g) { return layer_norm(in(g, "f16[2, ?, 4, 5]"), in(g, "f16[4, 5]"), in(g, "f32[4, 5]"), -2).y; },
     "f16[2, ?, 4, 5] f32[2, ?, 1, 1] f32[2, ?, 1, 1]"},
    {"layer_norm over everything", [](Graph& g) { return layer_norm(in(g, "f64[4, 5]"), {}, {}, 0).y; },
     "f64[4, 5] f64[1, 1] f64[1, 1]"},
    {"layer_norm with another scale", [](Graph& g) { return layer_norm(in(g, "f32[2, 4]"), in(g, "f32[2]"), {}).y; },
     "! layer_norm: scale f32[2] wants shape [4]"},
    {"layer_norm_gradient",
     [](Graph& g) {
       auto made = attributes<LayerNormAttributes>([](auto& a) { a.axis = 1; });
       return emit("layer_norm_gradient",
                   {in(g, "f16[2, 4]"), in(g, "f16[2, 4]"), in(g, "f32[2, 1]"), in(g, "f32[2, 1]")}, made);
     },
     "f16[2, 4] f32[4] f32[4]"},
    {"layer_norm_gradient with other statistics",
     [](Graph& g) {
       auto made = attributes<LayerNormAttributes>([](auto& a) { a.axis = 1; });
       return emit("layer_norm_gradient", {in(g, "f32[2, 4]"), in(g, "f32[2, 4]"), in(g, "f32[2]"), in(g, "f32[2, 1]")},
                   made);
     },
     "! layer_norm_gradient: mean f32[2] wants shape [2, 1]"},
    {"group_norm", [](Graph& g) { return group_norm(in(g, "f32[2, 6, ?, 5]"), 3, in(g, "f32[6]"), in(g, "f32[6]")).y; },
     "f32[2, 6, ?, 5] f32[2, 3] f32[2, 3]"},
    {"group_norm of groups that do not divide", [](Graph& g) { return group_norm(in(g, "f32[2, 6, 5]"), 4, {}, {}).y; },
     "! group_norm: 6 channels do not divide into 4 groups"},
    {"group_norm_gradient",
     [](Graph& g) {
       auto made = attributes<GroupNormAttributes>([](auto& a) { a.groups = 2; });
       const Var x = in(g, "f32[2, 6, 5]"), statistic = in(g, "f32[2, 2]");
       return emit("group_norm_gradient", {x, x, statistic, statistic, in(g, "f32[6]")}, made);
     },
     "f32[2, 6, 5] f32[6] f32[6]"},
    {"group_norm_gradient of no groups",
     [](Graph& g) {
       auto made = attributes<GroupNormAttributes>([](auto& a) { a.groups = 0; });
       const Var x = in(g, "f32[2, 6, 5]"), statistic = in(g, "f32[2, 2]");
       return emit("group_norm_gradient", {x, x, statistic, statistic}, made);
     },
     "! group_norm_gradient: 6 channels do not divide into 0 groups"},
};

const ShapeCase kRandom[] = {
    {"random_bits",
     [](Graph& g) {
       return random_bits(in(g, "u64[2]"), {3, 0}).values;
     },
     "u32[3, 0] u64[2]"},
    {"random_bits of another state", [](Graph& g) { return random_bits(in(g, "u64[3]"), {3}).values; },
     "! random_bits: wants a state u64[2] (key, counter), got u64[3]"},
    {"random_bits of unknown number", [](Graph& g) { return random_bits(in(g, "u64[2]"), {kUnknown}).values; },
     "! random_bits: cannot fill the unknown shape [?]"},
    {"random_uniform", [](Graph& g) { return random_uniform(in(g, "u64[2]"), DType::f64, {}).values; }, "f64[] u64[2]"},
    {"random_uniform integers", [](Graph& g) { return random_uniform(in(g, "u64[2]"), DType::i32, {}).values; },
     "! random_uniform: makes floating numbers, not i32"},
    {"random_normal", [](Graph& g) { return random_normal(in(g, "u64[2]"), DType::bf16, {5}).values; },
     "bf16[5] u64[2]"},
    {"random_normal of a float state", [](Graph& g) { return random_normal(in(g, "f64[2]"), DType::f32, {}).values; },
     "! random_normal: wants a state u64[2]"},
    {"dropout", [](Graph& g) { return dropout(in(g, "f32[2, ?]"), in(g, "u64[2]"), 0.5).y; },
     "f32[2, ?] bool[2, ?] u64[2]"},
    {"dropout of more than everything", [](Graph& g) { return dropout(in(g, "f32[2]"), in(g, "u64[2]"), 1.5).y; },
     "! dropout: its rate wants to be in [0, 1], not 1.5"},
};

const ShapeCase kOptimizer[] = {
    {"sgd_momentum_update",
     [](Graph& g) {
       const Var w = in(g, "f32[3, 4]");
       return sgd_momentum_update(w, in(g, "f32[3, 4]"), in(g, "f32[3, 4]"), in(g, "f32[]"), {}).parameter;
     },
     "f32[3, 4] f32[3, 4]"},
    {"sgd_momentum_update with another gradient",
     [](Graph& g) {
       return sgd_momentum_update(in(g, "f32[3, 4]"), in(g, "f32[4]"), in(g, "f32[3, 4]"), in(g, "f32[]"), {})
           .parameter;
     },
     "! sgd_momentum_update: parameter, gradient and state are of different types: f32[3, 4] and f32[4]"},
    {"adam_update",
     [](Graph& g) {
       const Var w = in(g, "f16[3]");
       return adam_update(w, w, w, w, in(g, "f32[]"), in(g, "i64[]"), {}).parameter;
     },
     "f16[3] f16[3] f16[3]"},
    {"adam_update with a floating step",
     [](Graph& g) {
       const Var w = in(g, "f32[3]");
       return adam_update(w, w, w, w, in(g, "f32[]"), in(g, "f32[]"), {}).parameter;
     },
     "! adam_update: wants an integer scalar as number of the step, got f32[]"},
};

Var suppressed(Graph& g, const char* boxes, const char* scores, std::int64_t most = kUnknown) {
  const Var b = in(g, boxes), threshold = scalar(g, b.dtype(), 0.5);
  return non_max_suppression(b, in(g, scores), threshold, threshold, most).indices;
}
const ShapeCase kDetection[] = {
    {"non_max_suppression", [](Graph& g) { return suppressed(g, "f32[2, 9, 4]", "f32[2, 3, 9]"); },
     "i64[2, 3, 9] i64[2, 3]"},
    {"non_max_suppression of a few", [](Graph& g) { return suppressed(g, "f16[2, 9, 4]", "f16[2, 3, 9]", 5); },
     "i64[2, 3, 5] i64[2, 3]"},
    {"non_max_suppression of too few", [](Graph& g) { return suppressed(g, "f32[2, 9, 4]", "f32[2, 3, 9]", 50); },
     "i64[2, 3, 9] i64[2, 3]"},
    {"non_max_suppression of the unknown", [](Graph& g) { return suppressed(g, "f32[?, ?, 4]", "f32[2, ?, ?]", 5); },
     "i64[2, ?, ?] i64[2, ?]"},
    {"non_max_suppression of triangles", [](Graph& g) { return suppressed(g, "f32[2, 9, 6]", "f32[2, 3, 9]"); },
     "! non_max_suppression: a box has 4 coordinates, not those of [2, 9, 6]"},
    {"non_max_suppression with other scores", [](Graph& g) { return suppressed(g, "f32[2, 9, 4]", "f32[2, 9, 3]"); },
     "! non_max_suppression: scores [2, 9, 3] do not fit boxes [2, 9, 4]"},
    {"non_max_suppression of less than none",
     [](Graph& g) { return suppressed(g, "f32[2, 9, 4]", "f32[2, 3, 9]", -3); },
     "! non_max_suppression: cannot keep -3 boxes"},
    {"non_max_suppression of integers", [](Graph& g) { return suppressed(g, "i32[2, 9, 4]", "i32[2, 3, 9]"); },
     "! non_max_suppression: wants a floating dtype, got i32[2, 9, 4]"},
};

}  // namespace

std::span<const ShapeCase> softmax_cases() { return kSoftmax; }
std::span<const ShapeCase> norm_cases() { return kNorm; }
std::span<const ShapeCase> random_cases() { return kRandom; }
std::span<const ShapeCase> optimizer_cases() { return kOptimizer; }
std::span<const ShapeCase> detection_cases() { return kDetection; }

}  // namespace ml::test
