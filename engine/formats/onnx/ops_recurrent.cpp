// LSTM, GRU and RNN: rows of the graph where their cells are the usual ones, scans of other cells.
#include <algorithm>
#include <array>
#include <cctype>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_recurrent.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// An activation by its name: which of alpha and beta it takes, and what they are where the node does not say.
struct NamedActivation {
  std::string_view name;
  int parameters;
  double alpha, beta;
  Var (*apply)(Var x, double alpha, double beta);
};
Var softplus(Var x) { return maximum(x, 0.0) + log1p(exp(neg(abs(x)))); }
constexpr NamedActivation kActivations[] = {
    {"relu", 0, 0, 0, [](Var x, double, double) { return maximum(x, 0.0); }},
    {"tanh", 0, 0, 0, [](Var x, double, double) { return tanh(x); }},
    {"sigmoid", 0, 0, 0, [](Var x, double, double) { return sigmoid(x); }},
    {"softsign", 0, 0, 0, [](Var x, double, double) { return x / (abs(x) + 1.0); }},
    {"softplus", 0, 0, 0, [](Var x, double, double) { return softplus(x); }},
    {"leakyrelu", 1, 0.01, 0, [](Var x, double a, double) { return select(lt(x, 0.0), x * a, x); }},
    {"thresholdedrelu", 1, 1, 0, [](Var x, double a, double) { return select(ge(x, a), x, zeros_like(x)); }},
    {"elu", 1, 1, 0, [](Var x, double a, double) { return select(ge(x, 0.0), x, expm1(minimum(x, 0.0)) * a); }},
    {"affine", 2, 1, 0, [](Var x, double a, double b) { return x * a + b; }},
    {"scaledtanh", 2, 1, 1, [](Var x, double a, double b) { return tanh(x * b) * a; }},
    {"hardsigmoid", 2, 0.2, 0.5, [](Var x, double a, double b) { return minimum(maximum(x * a + b, 0.0), 1.0); }},
};

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// What LSTM, GRU and RNN have in common: operands, directions, layout, activations. Directions come first in every
// weight and state here.
class Layer {
 public:
  Layer(Node n, std::int64_t gate_count, std::span<const char* const> functions) : n_(n), gate_count_(gate_count) {
    const std::string direction = n.text("direction", "forward");
    if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
      n.invalid("direction '" + direction + "'");
    directions_ = direction == "bidirectional" ? 2 : 1;
    reverse_ = direction == "reverse";
    batch_first_ = n.integer("layout", 0) != 0;
    x_ = batch_first_ ? swapped(n.in(0)) : n.in(0);
    r_ = n.in(2);
    if (x_.rank() != 3 || n.in(1).rank() != 3 || r_.rank() != 3)
      n.invalid("wants X, W and R of three dimensions, got " + n.in(0).shape().str() + ", " + n.in(1).shape().str() +
                " and " + r_.shape().str());
    hidden_ = r_.shape()[2];
    if (hidden_ == kUnknown) hidden_ = n.integer("hidden_size", kUnknown);
    if (hidden_ <= 0 || hidden_ > kMostHidden) n.unsupported("a hidden size of " + std::to_string(hidden_));
    if (n.integer("hidden_size", hidden_) != hidden_)
      n.invalid("hidden_size is " + std::to_string(n.integer("hidden_size", 0)) + ", R is " + r_.shape().str());
    const Shape& w = n.in(1).shape();
    const auto fits = [](std::int64_t extent, std::int64_t wanted) { return extent == wanted || extent == kUnknown; };
    if (!fits(w[0], directions_) || !fits(w[1], gate_count * hidden_))
      n.invalid("W " + w.str() + " wants " + std::to_string(directions_) + " directions of " +
                std::to_string(gate_count) + " gates of " + std::to_string(hidden_));
    read_activations(functions);
  }

  static Var swapped(Var x) { return transpose(x, {1, 0, 2}); }

  bool reverse() const { return reverse_; }
  Var r() const { return r_; }
  Var lengths() const { return n_.has(4) ? n_.in(4) : Var{}; }

  // A state, zeros where there is none.
  Var state(std::size_t i) const {
    if (n_.has(i)) return batch_first_ ? swapped(n_.in(i)) : n_.in(i);
    const Var extents[] = {number_of(n_.graph, directions_), extent_of(x_, 1), number_of(n_.graph, hidden_)};
    return filled(n_, scalar(n_.graph, x_.dtype(), 0), vector_of(extents));
  }

  // Weights from the cell's state to the gates i, o and f, [D, 3 H].
  Var peepholes() const {
    const Shape& p = n_.in(7).shape();
    if (p.rank() != 2 || (p[0] != directions_ && p[0] != kUnknown) || (p[1] != 3 * hidden_ && p[1] != kUnknown))
      n_.invalid("P " + p.str() + ", wanted " + Shape{directions_, 3 * hidden_}.str());
    return n_.in(7);
  }

  // Gates `first` up to `end` of B's half `i` (0: of W, 1: of R), [D, gates H].
  Var bias(std::int64_t i, std::int64_t first, std::int64_t end) const {
    const std::int64_t at = i * gate_count_ * hidden_;
    return slice(n_.in(3), {0, at + first * hidden_}, {kSliceToEnd, at + end * hidden_});
  }

  // [T, B, D, n H]: the product for all steps and both directions at once. `added` [D, n H] may be empty.
  Var gates(Var added) const {
    const std::int64_t rows = gate_count_ * hidden_;
    const Shape& w = n_.in(1).shape();
    Var product =
        matmul(x_, w[0] == 1 ? squeeze(n_.in(1), {0}) : reshape(n_.in(1), {directions_ * rows, w[2]}), false, true);
    if (added) product = product + reshape(added, {directions_ * rows});
    return reshaped(product, {reshape_keeps(0), reshape_keeps(1), directions_, rows});
  }

  // Whether the functions of every direction are the defaults, and nothing is clipped.
  bool usual() const { return usual_; }
  // The activations of a direction as the cells want them: gate, candidate, result.
  CellFunctions functions(std::int64_t direction) const {
    CellFunctions result;
    Activation* const places[] = {&result.gate, &result.candidate, &result.result};
    for (std::size_t i = 0; i < count_; ++i)
      *places[i] = activations_[static_cast<std::size_t>(direction) * count_ + i];
    if (n_.has_attribute("clip")) {
      const double most = n_.number("clip", 0);
      if (!(most > 0)) n_.invalid("clip is " + std::to_string(most));
      result.bounded = [most](Var x) { return maximum(minimum(x, most), -most); };
    }
    return result;
  }
  // One cell a direction.
  template <class F>
  std::vector<Cell> cells(F make) const {
    std::vector<Cell> result;
    for (std::int64_t d = 0; d < directions_; ++d) result.push_back(make(functions(d)));
    return result;
  }

  // Y [T, D, B, H] and the final states [D, B, H], or with the batch first.
  Results answer(std::span<const Var> results) const {
    Results answers{transpose(results[0], batch_first_ ? Ints{1, 0, 2, 3} : Ints{0, 2, 1, 3})};
    for (const Var& state : results.subspan(1)) answers.push_back(batch_first_ ? swapped(state) : state);
    return answers;
  }

 private:
  static constexpr std::int64_t kMostHidden = std::int64_t{1} << 40;  // a few of them are still a number

  // Names for every direction; alphas and betas in the order of those functions that take them.
  void read_activations(std::span<const char* const> defaults) {
    count_ = defaults.size();
    std::vector<std::string> names = n_.texts("activations");
    usual_ = !n_.has_attribute("clip");
    const std::size_t wanted = count_ * static_cast<std::size_t>(directions_);
    if (names.empty()) {
      for (std::size_t i = 0; i < wanted; ++i) names.emplace_back(defaults[i % count_]);
    }
    if (names.size() != wanted)
      n_.invalid(std::to_string(names.size()) + " activations, wanted " + std::to_string(wanted));
    const std::vector<float> alphas = n_.numbers("activation_alpha"), betas = n_.numbers("activation_beta");
    std::size_t alpha = 0, beta = 0;
    for (std::size_t i = 0; i < wanted; ++i) {
      const std::string name = lower(names[i]);
      const auto found = std::ranges::find(kActivations, name, &NamedActivation::name);
      if (found == std::end(kActivations)) n_.unsupported("activation '" + names[i] + "'");
      usual_ = usual_ && name == defaults[i % count_];
      double a = found->alpha, b = found->beta;
      if (found->parameters > 0 && alpha < alphas.size()) a = static_cast<double>(alphas[alpha++]);
      if (found->parameters > 1 && beta < betas.size()) b = static_cast<double>(betas[beta++]);
      activations_.emplace_back([apply = found->apply, a, b](Var x) { return apply(x, a, b); });
    }
  }

  Node n_;
  std::int64_t gate_count_, directions_ = 1, hidden_ = 0;
  bool reverse_ = false, batch_first_ = false, usual_ = true;
  Var x_, r_;
  std::size_t count_ = 0;                // activations a direction
  std::vector<Activation> activations_;  // direction by direction
};

Results lstm_operator(Node n) {
  static constexpr const char* kDefaults[] = {"sigmoid", "tanh", "tanh"};
  const Layer layer(n, 4, kDefaults);
  const Var gates = layer.gates(n.has(3) ? layer.bias(0, 0, 4) + layer.bias(1, 0, 4) : Var{});
  const Var h = layer.state(5), c = layer.state(6);
  const bool coupled = n.integer("input_forget", 0) != 0;
  if (layer.usual() && !coupled && !n.has(7)) {
    const Recurrent done = lstm(gates, layer.r(), h, c, layer.lengths(), layer.reverse());
    return layer.answer(std::array{done.y, done.h, done.c});
  }
  std::vector<Var> weights{layer.r()};
  if (n.has(7)) weights.push_back(layer.peepholes());
  return layer.answer(run_cells(layer.cells([&](const CellFunctions& f) { return lstm_cell(f, coupled); }), gates,
                                std::array{h, c}, weights, layer.lengths(), layer.reverse()));
}

// With linear_before_reset the recurrent bias of the candidate is behind the reset gate.
Results gru_operator(Node n) {
  static constexpr const char* kDefaults[] = {"sigmoid", "tanh"};
  const Layer layer(n, 3, kDefaults);
  const bool after = n.integer("linear_before_reset", 0) != 0;
  const Var h = layer.state(5), r = layer.r();
  Var added, bias;
  if (n.has(3) && !after) added = layer.bias(0, 0, 3) + layer.bias(1, 0, 3);
  if (n.has(3) && after) {
    added = concat(std::vector<Var>{layer.bias(0, 0, 2) + layer.bias(1, 0, 2), layer.bias(0, 2, 3)}, 1);
    bias = layer.bias(1, 2, 3);
  }
  if (!n.has(3) && after) bias = zeros_like(squeeze(slice(r, {0, 0, 0}, {kSliceToEnd, 1, kSliceToEnd}), {1}));
  const Var gates = layer.gates(added);
  if (layer.usual()) {
    const Recurrent done = gru(gates, r, h, bias, layer.lengths(), layer.reverse());
    return layer.answer(std::array{done.y, done.h});
  }
  std::vector<Var> weights{r};
  if (bias) weights.push_back(bias);
  return layer.answer(
      run_cells(layer.cells(gru_cell), gates, std::array{h}, weights, layer.lengths(), layer.reverse()));
}

Results rnn_operator(Node n) {
  static constexpr const char* kDefaults[] = {"tanh"};
  const Layer layer(n, 1, kDefaults);
  const Var gates = layer.gates(n.has(3) ? layer.bias(0, 0, 1) + layer.bias(1, 0, 1) : Var{});
  return layer.answer(run_cells(layer.cells(simple_cell), gates, std::array{layer.state(5)}, std::array{layer.r()},
                                layer.lengths(), layer.reverse()));
}

constexpr Operator kOperators[] = {
    {"GRU", 1, kAny, gru_operator},
    {"LSTM", 1, kAny, lstm_operator},
    {"RNN", 1, kAny, rnn_operator},
};

}  // namespace

std::span<const Operator> recurrent_operators() { return kOperators; }

}  // namespace ml::onnx
