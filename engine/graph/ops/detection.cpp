// Object detection: which of many boxes that overlap are kept.
#include "engine/graph/ops/detection.h"

#include <limits>

#include "engine/graph/build_control.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/movement.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;

// (boxes [B, n, 4], scores [B, C, n], overlap [], least []) -> (indices i64 [B, C, k], counts i64 [B, C])
std::vector<TensorType> infer_suppression(const InferArguments& a) {
  rules::want_floating(a);
  rules::same_dtypes(a);
  rules::want_rank(a, 0, 3);
  rules::want_rank(a, 1, 3);
  rules::want_rank(a, 2, 0);
  rules::want_rank(a, 3, 0);
  const Shape &boxes = a.shape(0), &scores = a.shape(1);
  if (!rules::same_extent(boxes[2], 4)) rules::fail(a, "a box has 4 coordinates, not those of " + boxes.str());
  if (!rules::same_extent(boxes[0], scores[0]) || !rules::same_extent(boxes[1], scores[2]))
    rules::fail(a, "scores " + scores.str() + " do not fit boxes " + boxes.str());
  const std::int64_t most = a.as<SuppressionAttributes>().most;
  if (most < kUnknown) rules::fail(a, "cannot keep " + std::to_string(most) + " boxes");
  const std::int64_t batch = scores[0] == kUnknown ? boxes[0] : scores[0];
  const std::int64_t count = scores[2] == kUnknown ? boxes[1] : scores[2];
  // How many are kept at most is known with how many there are.
  const std::int64_t kept = count == kUnknown ? kUnknown : most == kUnknown ? count : std::min(most, count);
  return {{DType::i64, {batch, scores[1], kept}}, {DType::i64, {batch, scores[1]}}};
}

// Boxes as the lower and the upper ends along both dimensions and the area, each [B, n].
struct Boxes {
  Var low[2], high[2], area;
};

Boxes corners(Var boxes) {
  const auto coordinate = [boxes](std::int64_t i) {
    return squeeze(slice(boxes, {0, 0, i}, {kSliceToEnd, kSliceToEnd, i + 1}), {2});
  };
  Boxes b;
  for (std::int64_t d = 0; d < 2; ++d) {
    b.low[d] = minimum(coordinate(d), coordinate(d + 2));
    b.high[d] = maximum(coordinate(d), coordinate(d + 2));
  }
  b.area = (b.high[0] - b.low[0]) * (b.high[1] - b.low[1]);
  return b;
}

// Whether the box that each class has chosen ([B, C] of `indices`) covers too much of each of the boxes: [B, C, n].
Var covers(const Boxes& boxes, Var indices, Var overlap) {
  const auto all = [](Var each) { return unsqueeze(each, {1}); };
  const auto chosen = [indices](Var each) { return unsqueeze(gather_elements(each, indices, 1), {2}); };
  Var shared, touches;
  for (int d = 0; d < 2; ++d) {
    const Var side =
        minimum(chosen(boxes.high[d]), all(boxes.high[d])) - maximum(chosen(boxes.low[d]), all(boxes.low[d]));
    const Var positive = gt(side, 0.0);
    touches = d == 0 ? positive : logical_and(touches, positive);
    shared = d == 0 ? side : shared * side;
  }
  const Var joint = chosen(boxes.area) + all(boxes.area) - shared;
  const Var real = logical_and(logical_and(gt(chosen(boxes.area), 0.0), gt(all(boxes.area), 0.0)),
                               logical_and(gt(shared, 0.0), gt(joint, 0.0)));
  return logical_and(logical_and(touches, real), gt(shared / joint, overlap));
}

// Each turn keeps, for every class at once, the best box that is left, and drops what it covers.
std::vector<Var> decompose_suppression(Args a) {
  const DType dtype = dtype_info(a.inputs[0].dtype()).compute;
  const Var boxes = cast(a.inputs[0], dtype), scores = cast(a.inputs[1], dtype);
  const Var overlap = cast(a.inputs[2], dtype), least = cast(a.inputs[3], dtype);
  const Shape& shape = scores.shape();
  const std::int64_t most = a.as<SuppressionAttributes>().most;
  const std::int64_t kept = most == kUnknown ? shape[2] : std::min(most, shape[2]);
  const Var indices = full(a.graph, DType::i64, {shape[0], shape[1], kept}, 0);
  const Var counts = full(a.graph, DType::i64, {shape[0], shape[1]}, 0);
  if (indices.shape().elements() == 0) return {indices, counts};

  const std::vector<Var> state{scalar(a.graph, DType::i64, 0), gt(scores, least), indices, counts};
  const std::vector<Var> outside{boxes, scores, overlap};
  std::vector<Var> given;
  const auto arguments = [&](Graph& graph) {
    given.clear();
    for (const auto* vars : {&state, &outside}) {
      for (const Var& x : *vars)
        given.push_back(input(graph, "x" + std::to_string(given.size()), x.dtype(), x.shape()));
    }
  };
  auto condition = std::make_shared<Graph>(), turn = std::make_shared<Graph>();
  arguments(*condition);
  const Var any = reduce_max(cast(given[1], DType::u8));
  output("y0", logical_and(lt(given[0], static_cast<double>(kept)), ne(any, 0.0)));

  arguments(*turn);
  const Var number = given[0], left = given[1], lowest = scalar(*turn, dtype, -std::numeric_limits<double>::infinity());
  const Var best = argmax(select(left, given[5], lowest), 2);
  const Var found = squeeze(gather_elements(left, unsqueeze(best, {2}), 2), {2});
  const Var dropped = logical_or(covers(corners(given[4]), best, given[6]),
                                 eq(iota(*turn, DType::i64, {shape[2]}, 0), unsqueeze(best, {2})));
  const Var here = logical_and(eq(iota(*turn, DType::i64, {kept}, 0), number), unsqueeze(found, {2}));
  output("y0", number + 1.0);
  output("y1", logical_and(left, logical_not(dropped)));
  output("y2", select(here, unsqueeze(best, {2}), given[2]));
  output("y3", given[3] + cast(found, DType::i64));
  const std::vector<Var> results = while_loop(std::move(condition), std::move(turn), state, outside);
  return {results[2], results[3]};
}

// Every box against every kept one, if it comes to that.
double flops(const InferArguments& a, std::span<const TensorType> outputs) {
  return 14.0 * static_cast<double>(a.shape(1)[2]) * static_cast<double>(outputs[0].shape.elements());
}

const Op kOps[] = {
    {.name = "non_max_suppression",
     .kind = OpKind::composite,
     .min_inputs = 4,
     .max_inputs = 4,
     .infer = infer_suppression,
     .gradient = no_gradient("it answers which boxes are kept"),
     .make_attributes = attributes_of<SuppressionAttributes>,
     .decompose = decompose_suppression,
     .flops = flops},
};

}  // namespace

std::span<const Op> detection_ops() { return kOps; }

Suppression non_max_suppression(Var boxes, Var scores, Var overlap, Var least, std::int64_t most) {
  auto attributes = std::make_shared<SuppressionAttributes>();
  attributes->most = most;
  const std::vector<Var> results =
      emit_all("non_max_suppression", {boxes, scores, overlap, least}, std::move(attributes));
  return {results[0], results[1]};
}

}  // namespace ml
