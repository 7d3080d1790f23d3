// Layout assignment in its first form: one walk, producers first. A kernel that prefers an order gets it; what is
// element-wise or moves elements without mixing dimensions follows the largest operand that has its shape or, moved,
// its dimensions; a reshape follows as long as what becomes one dimension lies in one; a transpose reads any order.
// Everything else, and what the graph gives and takes, is row-major.
#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <string_view>
#include <utility>

#include "engine/graph/ops/movement.h"
#include "engine/passes/passes.h"
#include "engine/passes/rewriter.h"

namespace ml::passes {
namespace {

// Whether both orders put every element of the shape at the same place: dimensions of extent 1 are nowhere.
bool same_places(const Shape& shape, const DimOrder& a, const DimOrder& b) {
  const auto walk = [&shape](const DimOrder& order) {
    std::vector<int> dims(static_cast<std::size_t>(shape.rank()));
    std::iota(dims.begin(), dims.end(), 0);
    if (!order.empty()) dims = order;
    std::erase_if(dims, [&shape](int d) { return shape[d] == 1; });
    return dims;
  };
  return walk(a) == walk(b);
}

// The order of a value of shape `from` and order `order` when the same memory is seen as `to`; nothing where dimensions
// that are split and joined with each other do not lie behind each other.
std::optional<DimOrder> reshaped(const Shape& from, const DimOrder& order, const Shape& to) {
  if (from.elements() == 0) return std::nullopt;
  // Dimensions of `from` above extent 1, and the range of those of `to` that hold as many elements.
  struct Group {
    std::vector<int> from;
    int begin, end;
  };
  std::vector<Group> groups;
  DimOrder ones;  // of `to` in no group
  for (int i = 0, j = 0; i < from.rank() || j < to.rank();) {
    Group group{{}, j, j};
    std::int64_t left = 1, right = 1;
    const auto take_left = [&] {
      if (from[i] != 1) group.from.push_back(i);
      left *= from[i++];
    };
    if (i < from.rank()) take_left();
    if (j < to.rank()) right *= to[j++];
    while (left != right) {
      if (left < right)
        take_left();
      else
        right *= to[j++];
    }
    while (j < to.rank() && to[j] == 1) ++j;  // stays behind what it was put behind: it may be broadcast
    group.end = j;
    if (left != 1)
      groups.push_back(std::move(group));
    else
      for (int d = group.begin; d < group.end; ++d) ones.push_back(d);
  }
  DimOrder lie = order;
  std::erase_if(lie, [&from](int d) { return from[d] == 1; });
  DimOrder result;
  for (std::size_t at = 0; at < lie.size();) {
    const auto group = std::ranges::find_if(groups, [&](const Group& g) { return g.from[0] == lie[at]; });
    if (group == groups.end()) return std::nullopt;
    for (const int d : group->from) {
      if (at == lie.size() || lie[at++] != d) return std::nullopt;
    }
    for (int d = group->begin; d < group->end; ++d) result.push_back(d);
  }
  result.insert(result.end(), ones.begin(), ones.end());
  return result;
}

class Assigner {
 public:
  Assigner(const Graph& graph, const Prefer& prefer) : graph_(graph), prefer_(prefer), rewriter_(graph) {}

  LaidOut run() {
    rewriter_.copy_inputs();
    for (const Node& node : graph_.nodes()) {
      if (node.op->kind == OpKind::constant) {
        rewriter_.copy(node);
      } else if (auto preferred = prefer_(graph_, node)) {
        append(node, preferred->inputs, preferred->outputs);
      } else if (follows(node) || keeps_dimensions(node)) {
        follow(node);
      } else if (node.op->name == "transpose") {
        append(node, {order_of(rewriter_.mapped(node.inputs[0]))}, {});
      } else if (node.op->name == "reshape") {
        reshape(node);
      } else {
        append(node, std::vector<DimOrder>(node.inputs.size()), {});
      }
    }
    for (const GraphOutput& output : graph_.outputs()) {
      rewriter_.map(output.value, in_order(rewriter_.mapped(output.value), {}));
    }
    LaidOut result{rewriter_.finish(), std::move(orders_)};
    result.orders.resize(result.graph.values().size());
    return result;
  }

 private:
  // What every backend that prefers orders at all runs through any strides.
  static bool follows(const Node& node) {
    const std::string_view name = node.op->name;
    return node.op->kind == OpKind::elementwise || name == "fused" || name == "reduce_sum" || name == "reduce_prod" ||
           name == "reduce_max" || name == "reduce_min";
  }

  // Whether dimension i of the result is that of the operands, longer or shorter.
  bool keeps_dimensions(const Node& node) const {
    const std::string_view name = node.op->name;
    if (name == "broadcast_to")
      return graph_.type(node.inputs[0]).shape.rank() == graph_.type(node.output(0)).shape.rank();
    return name == "concat" || name == "slice" || name == "pad" || name == "reverse" ||
           (name == "gather" && graph_.type(node.inputs[1]).shape.rank() == 1);
  }

  // Reads its operands as they lie; results of the operand's shape or dimensions lie as it does.
  void follow(const Node& node) {
    DimOrder order;
    Shape shape;
    std::int64_t most = 0;
    const std::span<const ValueId> inputs = node.inputs;
    for (const ValueId input : inputs.first(node.op->name == "gather" ? 1 : inputs.size())) {
      const Shape& candidate = graph_.type(input).shape;
      const std::int64_t elements = candidate.elements();
      const DimOrder& theirs = order_of(rewriter_.mapped(input));
      if (elements > most || (elements == most && order.empty() && !theirs.empty() && candidate == shape)) {
        most = elements;
        order = theirs;
        shape = candidate;
      }
    }
    const ValueId first = rewriter_.append(graph_, node, rewriter_.mapped_inputs(node));
    rewriter_.map_outputs(node, first);
    for (std::uint32_t i = 0; i < node.output_count; ++i) {
      if (!order.empty() && (keeps_dimensions(node) || graph_.type(node.output(i)).shape == shape))
        set_order(first + i, order);
    }
  }

  void reshape(const Node& node) {
    const Shape &from = graph_.type(node.inputs[0]).shape, &to = graph_.type(node.output(0)).shape;
    const DimOrder order = order_of(rewriter_.mapped(node.inputs[0]));
    const std::optional<DimOrder> result = order.empty() ? std::nullopt : reshaped(from, order, to);
    append(node, {result ? order : DimOrder{}}, {result.value_or(DimOrder{})});
  }

  void append(const Node& node, const std::vector<DimOrder>& inputs, const std::vector<DimOrder>& outputs) {
    std::vector<ValueId> operands;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      operands.push_back(in_order(rewriter_.mapped(node.inputs[i]), inputs[i]));
    }
    const ValueId first = rewriter_.append(graph_, node, operands);
    rewriter_.map_outputs(node, first);
    for (std::uint32_t i = 0; i < outputs.size(); ++i) set_order(first + i, outputs[i]);
  }

  const DimOrder& order_of(ValueId value) {
    static const DimOrder kRowMajor;
    return value < orders_.size() ? orders_[value] : kRowMajor;
  }
  void set_order(ValueId value, DimOrder order) {
    if (same_places(rewriter_.graph().type(value).shape, order, {})) return;  // row-major as well
    if (orders_.size() <= value) orders_.resize(value + 1);
    orders_[value] = std::move(order);
  }

  // The value in that order: itself, or a copy that is made once.
  ValueId in_order(ValueId value, const DimOrder& order) {
    const TensorType type = rewriter_.graph().type(value);
    if (same_places(type.shape, order_of(value), order)) return value;
    const auto [found, missing] = copies_.try_emplace({value, order}, kNoValue);
    if (missing) {
      static const Op& op = find_op("broadcast_to");
      auto attributes = std::make_shared<BroadcastAttributes>();
      attributes->shape = type.shape;
      found->second = rewriter_.graph().add_unchecked(op, std::move(attributes), {&value, 1}, {&type, 1});
      set_order(found->second, order);
    }
    return found->second;
  }

  const Graph& graph_;
  const Prefer& prefer_;
  Rewriter rewriter_;
  std::vector<DimOrder> orders_;  // per new value
  std::map<std::pair<ValueId, DimOrder>, ValueId> copies_;
};

}  // namespace

LaidOut assign_layouts(const Graph& graph, const Prefer& prefer) { return Assigner(graph, prefer).run(); }

}  // namespace ml::passes
