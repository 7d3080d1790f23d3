// Forests of decision trees, as a scan over their depth: a turn moves every example one node further in every tree.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_control.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/build_nn.h"
#include "engine/graph/ops/indexing.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;
constexpr const char* kDomain = "ai.onnx.ml";
constexpr std::int64_t kMostVotes = 1 << 24;  // leaves times votes of one leaf

enum Mode : std::uint8_t { leq, lt_, gte, gt_, eq_, neq, member };

// Nodes that branch, and leaves: a child c is node c, or leaf c - nodes.size().
struct Forest {
  struct Branch {
    std::int64_t feature = 0, on_true = 0, on_false = 0;
    double split = 0;
    Mode mode = leq;
    bool missing_is_true = false;
  };
  struct Vote {
    std::int64_t target;
    double weight;
  };
  std::vector<Branch> nodes;
  std::vector<std::vector<Vote>> leaves;
  std::vector<std::int64_t> roots;
};

// Nodes on the longest way to a leaf; refuses children that aren't there and ways that never end.
std::int64_t depth_of(Node n, const Forest& forest) {
  const auto count = static_cast<std::int64_t>(forest.nodes.size());
  const auto last = count + static_cast<std::int64_t>(forest.leaves.size());
  constexpr std::int64_t kUnseen = -1, kOpen = -2;
  std::vector<std::int64_t> depth(forest.nodes.size(), kUnseen);
  std::vector<std::int64_t> stack;
  std::int64_t deepest = 0;
  for (const std::int64_t root : forest.roots) {
    if (root < 0 || root >= last)
      n.invalid("a root " + std::to_string(root) + " of " + std::to_string(last) + " nodes");
    if (root < count) stack.push_back(root);
    while (!stack.empty()) {
      const std::int64_t at = stack.back();
      const Forest::Branch& branch = forest.nodes[static_cast<std::size_t>(at)];
      std::int64_t& own = depth[static_cast<std::size_t>(at)];
      if (own >= 0) {
        stack.pop_back();
        continue;
      }
      std::int64_t below = 0;
      bool waits = false;
      for (const std::int64_t child : {branch.on_true, branch.on_false}) {
        if (child < 0 || child >= last)
          n.invalid("node " + std::to_string(at) + " leads to " + std::to_string(child) + ", which is not there");
        if (child >= count) continue;
        const std::int64_t seen = depth[static_cast<std::size_t>(child)];
        if (seen == kOpen) n.invalid("node " + std::to_string(at) + " leads back to node " + std::to_string(child));
        if (seen == kUnseen) stack.push_back(child);
        waits = waits || seen == kUnseen;
        below = std::max(below, seen);
      }
      own = waits ? kOpen : below + 1;
      if (!waits) stack.pop_back();
    }
    if (root < count) deepest = std::max(deepest, depth[static_cast<std::size_t>(root)]);
  }
  return deepest;
}

Var table(Graph& graph, DType dtype, const std::vector<double>& values) {
  return cast(constant(graph, make_constant(DType::f64, Shape{static_cast<std::int64_t>(values.size())},
                                            std::as_bytes(std::span(values)))),
              dtype);
}

// The leaf, as a node, that each example of x [N, F] reaches in each tree: [N, trees].
class Descent {
 public:
  Descent(Node n, const Forest& forest) : n_(n), forest_(forest), depth_(depth_of(n, forest)) {}

  Var leaves(Var x) const {
    const auto trees = static_cast<std::int64_t>(forest_.roots.size());
    const std::vector<Var> extents{extent_of(x, 0), number_of(n_.graph, trees)};
    const Var start =
        n_.settled(expand_to(reshape(vector_of(n_.graph, forest_.roots), Shape{1, trees}), vector_of(extents)));
    if (depth_ == 0) return start;
    auto body = std::make_shared<Graph>();
    const Var at{body.get(), body->add_input("at", start.type())};
    const Var features{body.get(), body->add_input("features", x.type())};
    output("next", next(at, features));
    return scan(std::move(body), std::array{start}, {}, std::array{x}, {.length = depth_})[0];
  }

 private:
  // What every node says, leaves too: they lead to themselves.
  template <class Get>
  std::vector<double> all(Get get, double of_leaf) const {
    std::vector<double> values;
    for (const Forest::Branch& node : forest_.nodes) values.push_back(static_cast<double>(get(node)));
    values.resize(forest_.nodes.size() + forest_.leaves.size(), of_leaf);
    return values;
  }
  std::vector<std::int64_t> children(bool on_true) const {
    std::vector<std::int64_t> values;
    for (const Forest::Branch& node : forest_.nodes) values.push_back(on_true ? node.on_true : node.on_false);
    for (std::size_t i = 0; i < forest_.leaves.size(); ++i) values.push_back(static_cast<std::int64_t>(values.size()));
    return values;
  }

  Var next(Var at, Var x) const {
    Graph& graph = *at.graph;
    const auto of_node = [&](DType dtype, const std::vector<double>& values) {
      return gather(table(graph, dtype, values), at, 0);
    };
    const Var feature = of_node(DType::i64, all([](const auto& node) { return node.feature; }, 0));
    const Var value = gather_elements(x, feature, 1);
    const Var split = of_node(x.dtype(), all([](const auto& node) { return node.split; }, 0));
    const std::vector<double> modes = all([](const auto& node) { return node.mode; }, leq);
    const Var mode = of_node(DType::u8, modes);
    Var goes;
    for (const Mode kind : {leq, lt_, gte, gt_, eq_, neq}) {
      if (std::ranges::find(modes, static_cast<double>(kind)) == modes.end()) continue;
      const Var holds = compare(kind, value, split);
      goes = goes ? select(eq(mode, static_cast<double>(kind)), holds, goes) : holds;
    }
    const std::vector<double> missing = all([](const auto& node) { return node.missing_is_true; }, 0);
    if (std::ranges::find(missing, 1.0) != missing.end())
      goes = logical_or(goes, logical_and(is_nan(value), of_node(DType::boolean, missing)));
    return select(goes, gather(vector_of(graph, children(true)), at, 0),
                  gather(vector_of(graph, children(false)), at, 0));
  }

  static Var compare(Mode mode, Var value, Var split) {
    switch (mode) {
      case leq: return le(value, split);
      case lt_: return lt(value, split);
      case gte: return ge(value, split);
      case gt_: return gt(value, split);
      case neq: return ne(value, split);
      case eq_:
      case member: break;
    }
    return eq(value, split);
  }

  Node n_;
  const Forest& forest_;
  std::int64_t depth_;
};

// The votes of the leaves [N, trees] put together: [N, targets].
Var counted(Node n, const Forest& forest, Var leaves, std::int64_t targets, DType dtype, const std::string& how) {
  std::size_t most = 1;
  for (const auto& votes : forest.leaves) most = std::max(most, votes.size());
  const auto slots = static_cast<std::int64_t>(most), count = static_cast<std::int64_t>(forest.leaves.size());
  if (slots * count > kMostVotes) n.unsupported("leaves with up to " + std::to_string(slots) + " votes each");
  if (how != "SUM" && how != "AVERAGE" && how != "MIN" && how != "MAX")
    n.invalid("an aggregate function '" + how + "'");
  const bool adds = how == "SUM" || how == "AVERAGE", least = how == "MIN";
  const double limit =
      dtype == DType::f64 ? std::numeric_limits<double>::max() : static_cast<double>(std::numeric_limits<float>::max());
  const double nothing = adds ? 0 : least ? limit : -limit;  // what a vote that isn't there says
  std::vector<double> weights;
  std::vector<std::int64_t> ids;
  for (const auto& votes : forest.leaves) {
    for (const Forest::Vote& vote : votes) {
      if (vote.target < 0 || vote.target >= targets)
        n.invalid("a vote for target " + std::to_string(vote.target) + " of " + std::to_string(targets));
      weights.push_back(vote.weight);
      ids.push_back(vote.target);
    }
    weights.resize(weights.size() + most - votes.size(), nothing);
    ids.resize(weights.size(), 0);
  }
  const Var leaf = sub(leaves, static_cast<double>(forest.nodes.size()));
  const auto per_vote = [&](Var values) {  // [N, trees * slots]
    const Var rows = gather(reshape(values, Shape{count, slots}), leaf, 0);
    const std::vector<Var> extents{extent_of(leaves, 0),
                                   number_of(n.graph, static_cast<std::int64_t>(forest.roots.size()) * slots)};
    return shaped(n, rows, extents);
  };
  const Var updates = per_vote(table(n.graph, dtype, weights)), places = per_vote(vector_of(n.graph, ids));
  const std::vector<Var> extents{extent_of(leaves, 0), number_of(n.graph, targets)};
  const Var start = filled(n, scalar(n.graph, dtype, nothing), vector_of(extents));
  const Reduction reduction = adds ? Reduction::add : least ? Reduction::min : Reduction::max;
  const Var result = scatter_elements(start, places, updates, 1, reduction);
  if (how == "AVERAGE") return result / static_cast<double>(forest.roots.size());
  // A target that nobody votes for has none of the limits, but zero (ONNX leaves it open, ONNX Runtime has zero).
  return adds ? result : select(eq(result, nothing), scalar(n.graph, dtype, 0), result);
}

// Its inverse by Winitzki's formula, as ONNX has it.
Var inverse_error_function(Var x) {
  constexpr double kA = 0.147;
  const Var logarithm = log((1.0 - x) * (x + 1.0));
  const Var v = logarithm * 0.5 + 2 / (std::numbers::pi * kA);
  return sign(x) * sqrt(sqrt(v * v - logarithm / kA) - v);
}

Var transformed(Node n, Var y, const std::string& how) {
  if (how == "NONE") return y;
  if (how == "SOFTMAX") return softmax(y, -1);
  if (how == "LOGISTIC") return sigmoid(y);
  if (how == "PROBIT") return inverse_error_function(y * 2.0 - 1.0) * std::numbers::sqrt2;
  if (how != "SOFTMAX_ZERO") n.invalid("a post_transform '" + how + "'");
  // Zero stays what it is next to the others.
  const Var peak = reduce_max(y, {-1}, true);
  const Var power = select(gt(abs(y), 1e-7), exp(y - peak), y * exp(neg(peak)));
  const Var sum = reduce_sum(power, {-1}, true);
  return select(eq(sum, 0.0), scalar(n.graph, y.dtype(), 0.5), power / sum);
}

// A node that asks for members of a set is a chain of nodes that ask for one each.
void write_out_sets(Node n, Forest& forest, std::span<const double> members) {
  const std::size_t count = forest.nodes.size();
  std::size_t at = 0, added = 0;
  for (const double value : members) added += std::isnan(value) ? 0 : 1;
  std::vector<std::vector<double>> sets(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (forest.nodes[i].mode != member) continue;
    while (at < members.size() && !std::isnan(members[at])) sets[i].push_back(members[at++]);
    if (at == members.size()) n.invalid("membership_values end before the set of node " + std::to_string(i));
    ++at;
    added -= sets[i].empty() ? 0 : 1;
  }
  if (at != members.size()) n.invalid("membership_values hold more sets than nodes ask for");
  // Leaves are numbered behind the nodes there will be.
  const auto shift = [&](std::int64_t child) {
    return child < static_cast<std::int64_t>(count) ? child : child + static_cast<std::int64_t>(added);
  };
  for (Forest::Branch& node : forest.nodes) {
    node.on_true = shift(node.on_true);
    node.on_false = shift(node.on_false);
  }
  for (std::int64_t& root : forest.roots) root = shift(root);
  for (std::size_t i = 0; i < count; ++i) {
    if (forest.nodes[i].mode != member) continue;
    forest.nodes[i].mode = eq_;
    forest.nodes[i].split = sets[i].empty() ? std::numeric_limits<double>::quiet_NaN() : sets[i][0];
    std::size_t last = i;
    for (std::size_t k = 1; k < sets[i].size(); ++k) {
      Forest::Branch more = forest.nodes[last];
      more.split = sets[i][k];
      forest.nodes[last].on_false = static_cast<std::int64_t>(forest.nodes.size());
      last = forest.nodes.size();
      forest.nodes.push_back(more);
    }
  }
}

std::vector<double> numbers_of(const ConstantPtr& tensor) {
  std::vector<double> values;
  for (std::int64_t i = 0; tensor && i < tensor->shape.elements(); ++i) values.push_back(element_as_double(*tensor, i));
  return values;
}

void want_count(Node n, const char* name, std::size_t got, std::size_t wanted) {
  if (got != wanted)
    n.invalid(std::string(name) + " has " + std::to_string(got) + " entries, " + std::to_string(wanted) +
              " are needed");
}

Var features_of(Node n) {
  const Var x = n.in(0);
  if (x.rank() != 2) n.invalid("it takes examples [N, F], not " + x.shape().str());
  return is_floating(x.dtype()) ? x : cast(x, DType::f32);
}

// Operator set 5: nodes and leaves are numbered over all trees.
Results tree_ensemble(Node n) {
  Forest forest;
  const Ints features = n.ints("nodes_featureids"), on_true = n.ints("nodes_truenodeids");
  const Ints on_false = n.ints("nodes_falsenodeids"), true_leaf = n.ints("nodes_trueleafs");
  const Ints false_leaf = n.ints("nodes_falseleafs");
  const std::size_t count = features.size();
  const Ints missing = n.ints("nodes_missing_value_tracks_true", Ints(count, 0));
  const std::vector<double> splits = numbers_of(n.tensor("nodes_splits")), modes = numbers_of(n.tensor("nodes_modes"));
  const std::vector<double> weights = numbers_of(n.tensor("leaf_weights"));
  const Ints targets = n.ints("leaf_targetids");
  want_count(n, "nodes_truenodeids", on_true.size(), count);
  want_count(n, "nodes_falsenodeids", on_false.size(), count);
  want_count(n, "nodes_trueleafs", true_leaf.size(), count);
  want_count(n, "nodes_falseleafs", false_leaf.size(), count);
  want_count(n, "nodes_missing_value_tracks_true", missing.size(), count);
  want_count(n, "nodes_splits", splits.size(), count);
  want_count(n, "nodes_modes", modes.size(), count);
  want_count(n, "leaf_targetids", targets.size(), weights.size());
  const auto child = [&](std::int64_t id, bool is_leaf) {
    const std::size_t most = is_leaf ? weights.size() : count;
    if (id < 0 || static_cast<std::uint64_t>(id) >= most)
      n.invalid("a child " + std::to_string(id) + " of " + std::to_string(most) + (is_leaf ? " leaves" : " nodes"));
    return is_leaf ? id + static_cast<std::int64_t>(count) : id;
  };
  for (std::size_t i = 0; i < count; ++i) {
    if (!(modes[i] >= 0 && modes[i] <= static_cast<int>(member)))
      n.invalid("a node of mode " + std::to_string(modes[i]));
    forest.nodes.push_back({features[i], child(on_true[i], true_leaf[i] != 0), child(on_false[i], false_leaf[i] != 0),
                            splits[i], static_cast<Mode>(modes[i]), missing[i] != 0});
  }
  for (std::size_t i = 0; i < weights.size(); ++i) forest.leaves.push_back({{targets[i], weights[i]}});
  for (const std::int64_t root : n.ints("tree_roots")) forest.roots.push_back(child(root, false));
  if (forest.roots.empty()) n.invalid("it has no trees");
  write_out_sets(n, forest, numbers_of(n.tensor("membership_values")));
  static constexpr const char* kFunctions[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  static constexpr const char* kTransforms[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
  const std::int64_t function = n.integer("aggregate_function", 1), transform = n.integer("post_transform", 0);
  if (function < 0 || function > 3) n.invalid("an aggregate function " + std::to_string(function));
  if (transform < 0 || transform > 4) n.invalid("a post_transform " + std::to_string(transform));
  const std::int64_t outputs = n.integer("n_targets", 0);
  if (outputs <= 0) n.invalid(std::to_string(outputs) + " targets");
  const Var x = features_of(n);
  const Var y = counted(n, forest, Descent(n, forest).leaves(x), outputs, x.dtype(), kFunctions[function]);
  return {transformed(n, y, kTransforms[transform])};
}

// Before: nodes, leaves among them, are numbered in each tree, and any number of votes says of which leaf it is.
Results tree_ensemble_regressor(Node n) {
  const auto given = [&](const std::string& name) {
    std::vector<double> values = numbers_of(n.tensor(name + "_as_tensor"));
    if (values.empty()) {
      for (const float value : n.numbers(name)) values.push_back(static_cast<double>(value));
    }
    return values;
  };
  const Ints ids = n.ints("nodes_nodeids"), trees = n.ints("nodes_treeids"), features = n.ints("nodes_featureids");
  const Ints on_true = n.ints("nodes_truenodeids"), on_false = n.ints("nodes_falsenodeids");
  const std::size_t count = ids.size();
  const Ints missing = n.ints("nodes_missing_value_tracks_true", Ints(count, 0));
  const std::vector<std::string> modes = n.texts("nodes_modes");
  const std::vector<double> splits = given("nodes_values");
  want_count(n, "nodes_treeids", trees.size(), count);
  want_count(n, "nodes_featureids", features.size(), count);
  want_count(n, "nodes_truenodeids", on_true.size(), count);
  want_count(n, "nodes_falsenodeids", on_false.size(), count);
  want_count(n, "nodes_missing_value_tracks_true", missing.size(), count);
  want_count(n, "nodes_modes", modes.size(), count);
  want_count(n, "nodes_values", splits.size(), count);

  // Where each node stands among those that branch, or behind them among the leaves.
  const auto leaf = [&](std::size_t i) { return modes[i] == "LEAF"; };
  const auto branches = static_cast<std::int64_t>(count) - std::ranges::count(modes, "LEAF");
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> places;
  std::int64_t branch = 0, end = branches;
  for (std::size_t i = 0; i < count; ++i) {
    if (!places.try_emplace({trees[i], ids[i]}, leaf(i) ? end++ : branch++).second)
      n.invalid("node " + std::to_string(ids[i]) + " of tree " + std::to_string(trees[i]) + " is there twice");
  }
  const auto place = [&](std::int64_t tree, std::int64_t id) {
    const auto found = places.find({tree, id});
    if (found == places.end())
      n.invalid("node " + std::to_string(id) + " of tree " + std::to_string(tree) + " is not there");
    return found->second;
  };
  static constexpr std::string_view kModes[] = {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE",
                                                "BRANCH_GT",  "BRANCH_EQ", "BRANCH_NEQ"};
  Forest forest;
  forest.leaves.resize(count - static_cast<std::size_t>(branches));
  for (std::size_t i = 0; i < count; ++i) {
    if (i == 0 || trees[i] != trees[i - 1]) forest.roots.push_back(place(trees[i], ids[i]));
    if (leaf(i)) continue;
    const auto* mode = std::ranges::find(kModes, modes[i]);
    if (mode == std::end(kModes)) n.invalid("a node of mode '" + modes[i] + "'");
    forest.nodes.push_back({features[i], place(trees[i], on_true[i]), place(trees[i], on_false[i]), splits[i],
                            static_cast<Mode>(mode - std::begin(kModes)), missing[i] != 0});
  }
  if (forest.roots.empty()) n.invalid("it has no trees");
  const Ints vote_trees = n.ints("target_treeids"), vote_nodes = n.ints("target_nodeids"),
             targets = n.ints("target_ids");
  const std::vector<double> weights = given("target_weights");
  want_count(n, "target_treeids", vote_trees.size(), weights.size());
  want_count(n, "target_nodeids", vote_nodes.size(), weights.size());
  want_count(n, "target_ids", targets.size(), weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::int64_t at = place(vote_trees[i], vote_nodes[i]) - branches;
    if (at < 0) n.invalid("a vote of node " + std::to_string(vote_nodes[i]) + ", which is no leaf");
    forest.leaves[static_cast<std::size_t>(at)].push_back({targets[i], weights[i]});
  }
  const std::int64_t outputs = n.integer("n_targets", 1);
  if (outputs <= 0) n.invalid(std::to_string(outputs) + " targets");
  const Var x = features_of(n);
  Var y = counted(n, forest, Descent(n, forest).leaves(x), outputs, x.dtype(), n.text("aggregate_function", "SUM"));
  if (const std::vector<double> base = given("base_values"); !base.empty()) {
    if (base.size() != 1) want_count(n, "base_values", base.size(), static_cast<std::size_t>(outputs));
    y = y + table(n.graph, y.dtype(), base);
  }
  return {cast(transformed(n, y, n.text("post_transform", "NONE")), DType::f32)};
}

constexpr Operator kOperators[] = {
    {"TreeEnsemble", 5, kAny, tree_ensemble, kDomain},
    {"TreeEnsembleRegressor", 1, kAny, tree_ensemble_regressor, kDomain},
};

}  // namespace

std::span<const Operator> tree_operators() { return kOperators; }

}  // namespace ml::onnx
