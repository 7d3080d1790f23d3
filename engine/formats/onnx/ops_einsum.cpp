// Einstein sums, as what they are: diagonals, sums, and one product of matrices for each operand after the first.
#include <algorithm>
#include <cctype>
#include <map>

#include "engine/formats/onnx/extents.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// An operand and the label of each of its dimensions. Those of an ellipsis are digits that count from its end.
struct Term {
  Var x;
  std::string labels;

  bool has(char label) const { return labels.find(label) != labels.npos; }
  int axis(char label) const { return static_cast<int>(labels.find(label)); }
};

std::string ellipsis(int dimensions) {
  std::string labels;
  while (dimensions > 0) labels += static_cast<char>('0' + --dimensions);
  return labels;
}

// `text` with its ellipsis as that many labels. `hidden`: how many there are, the rank less the letters.
std::string labels_of(Node n, const std::string& text, int hidden) {
  std::string labels;
  bool dots = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (std::isalpha(static_cast<unsigned char>(text[i])) != 0) {
      labels += text[i];
    } else if (text.compare(i, 3, "...") == 0 && !dots) {
      labels += ellipsis(hidden);
      dots = true;
      i += 2;
    } else {
      n.invalid("equation: '" + text + "' is not a list of labels");
    }
  }
  return labels;
}

class Einsum {
 public:
  explicit Einsum(Node n) : n_(n) { parse(); }

  Var run() {
    for (Term& term : terms_) take_diagonals(term);
    for (Term& term : terms_) drop_repeated(term);
    for (std::size_t i = 0; i < terms_.size(); ++i) remember_extents(terms_[i]);
    Term result = summed(terms_[0], wanted_behind(0));
    for (std::size_t i = 1; i < terms_.size(); ++i) {
      const std::string later = wanted_behind(i);
      const std::string mine = later + result.labels;
      result = product(summed(result, later + terms_[i].labels), summed(terms_[i], mine), later);
    }
    Ints order;
    for (const char label : output_) order.push_back(result.axis(label));
    return is_sorted(order) ? result.x : transpose(result.x, order);
  }

 private:
  static bool is_sorted(const Ints& order) { return std::is_sorted(order.begin(), order.end()); }

  void parse() {
    std::string equation = n_.text("equation", "");
    std::erase(equation, ' ');
    const std::size_t arrow = equation.find("->");
    std::string left = equation.substr(0, arrow) + ",";
    int hidden = 0;  // the most dimensions that an ellipsis stands for
    for (std::size_t comma = left.find(','); comma != left.npos; comma = left.find(',')) {
      const std::string text = left.substr(0, comma);
      left.erase(0, comma + 1);
      if (terms_.size() == n_.input_count()) n_.invalid("equation '" + equation + "' has more operands than the node");
      const Var x = n_.in(terms_.size());
      const auto letters =
          static_cast<int>(std::ranges::count_if(text, [](unsigned char c) { return std::isalpha(c); }));
      const bool dots = text.find("...") != text.npos;
      if (dots ? letters > x.rank() : letters != x.rank())
        n_.invalid("equation: '" + text + "' does not name the dimensions of " + x.shape().str());
      terms_.push_back({x, labels_of(n_, text, x.rank() - letters)});
      hidden = std::max(hidden, x.rank() - letters);
    }
    if (terms_.size() != n_.input_count()) n_.invalid("equation '" + equation + "' has fewer operands than the node");
    output_ =
        arrow == equation.npos ? ellipsis(hidden) + letters_once() : labels_of(n_, equation.substr(arrow + 2), hidden);
    for (const char label : output_) {
      const bool known = std::ranges::any_of(terms_, [&](const Term& term) { return term.has(label); });
      if (!known || std::ranges::count(output_, label) != 1)
        n_.invalid("equation '" + equation + "': its result cannot have '" + std::string(1, label) + "'");
    }
  }

  // What an equation without a result means: every letter that stands once, in the order of the alphabet.
  std::string letters_once() const {
    std::map<char, int> times;
    std::string once;
    for (const Term& term : terms_) {
      for (const char label : term.labels) ++times[label];
    }
    for (const auto& [label, count] : times) {
      if (count == 1 && std::isalpha(static_cast<unsigned char>(label)) != 0) once += label;
    }
    return once;
  }

  // Of two dimensions with one label the elements where they are equal.
  void take_diagonals(Term& term) {
    for (std::size_t j = 1; j < term.labels.size();) {
      const std::size_t i = term.labels.find(term.labels[j]);
      if (i == j) {
        ++j;
        continue;
      }
      const auto positions = [&](std::size_t axis) {
        Ints behind;
        for (std::size_t k = axis + 1; k < term.labels.size(); ++k)
          behind.push_back(static_cast<std::int64_t>(k - axis));
        const Var line = count_up(n_, extent_of(term.x, static_cast<int>(axis)), DType::i64);
        return behind.empty() ? line : unsqueeze(line, behind);
      };
      const std::int64_t a = term.x.shape()[static_cast<int>(i)], b = term.x.shape()[static_cast<int>(j)];
      if (a != b && a != kUnknown && b != kUnknown) mismatch(term.labels[j], a, b);
      const Var zero = scalar(n_.graph, term.x.dtype(), 0);
      term.x = reduce_sum(select(eq(positions(i), positions(j)), term.x, zero), {static_cast<std::int64_t>(j)});
      term.labels.erase(j, 1);
    }
  }

  // A dimension of one element, where another operand has more, is repeated: the product needs none.
  void drop_repeated(Term& term) {
    for (std::size_t i = 0; i < term.labels.size();) {
      const char label = term.labels[i];
      const bool more = std::ranges::any_of(
          terms_, [&](const Term& other) { return other.has(label) && other.x.shape()[other.axis(label)] != 1; });
      if (!more || term.x.shape()[static_cast<int>(i)] != 1) {
        ++i;
        continue;
      }
      term.x = squeeze(term.x, {static_cast<std::int64_t>(i)});
      term.labels.erase(i, 1);
    }
  }

  void remember_extents(const Term& term) {
    for (std::size_t i = 0; i < term.labels.size(); ++i) {
      const std::int64_t extent = term.x.shape()[static_cast<int>(i)];
      const auto [known, added] = extents_.try_emplace(term.labels[i], extent_of(term.x, static_cast<int>(i)));
      if (added || extent == kUnknown) continue;
      const std::int64_t before = known_integer(known->second).value_or(kUnknown);
      if (before == kUnknown) known->second = number_of(n_.graph, extent);
      if (before != kUnknown && before != extent) mismatch(term.labels[i], before, extent);
    }
  }

  [[noreturn]] void mismatch(char label, std::int64_t a, std::int64_t b) const {
    n_.invalid("equation: '" + std::string(1, label) + "' is " + std::to_string(a) + " in one place and " +
               std::to_string(b) + " in another");
  }

  // The labels of the result and of the operands behind operand i.
  std::string wanted_behind(std::size_t i) const {
    std::string labels = output_;
    for (std::size_t k = i + 1; k < terms_.size(); ++k) labels += terms_[k].labels;
    return labels;
  }

  // `term` summed over what is not wanted.
  static Term summed(const Term& term, const std::string& wanted) {
    Ints axes;
    Term result{term.x, {}};
    for (std::size_t i = 0; i < term.labels.size(); ++i) {
      if (wanted.find(term.labels[i]) == wanted.npos)
        axes.push_back(static_cast<std::int64_t>(i));
      else
        result.labels += term.labels[i];
    }
    if (!axes.empty()) result.x = reduce_sum(term.x, axes);
    return result;
  }

  // Labels of a that b has, or has not.
  static std::string select_labels(const std::string& a, const std::string& b, bool in_both) {
    std::string result;
    for (const char label : a) {
      if ((b.find(label) != b.npos) == in_both) result += label;
    }
    return result;
  }

  // The product of two operands, summed over what both have and nobody wants later.
  Term product(const Term& a, const Term& b, const std::string& wanted) {
    const std::string both = select_labels(a.labels, b.labels, true);
    const std::string batch = select_labels(both, wanted, true), inner = select_labels(both, wanted, false);
    const std::string rows = select_labels(a.labels, b.labels, false),
                      columns = select_labels(b.labels, a.labels, false);
    if (inner.empty()) {
      Var left = arranged(a, batch + rows);
      Ints behind;
      for (std::size_t i = 0; i < columns.size(); ++i) behind.push_back(left.rank() + static_cast<std::int64_t>(i));
      if (!behind.empty()) left = unsqueeze(left, behind);
      const Var right = arranged(b, batch + columns);
      Ints between;
      for (std::size_t i = 0; i < rows.size(); ++i) between.push_back(static_cast<std::int64_t>(batch.size() + i));
      return {left * (between.empty() ? right : unsqueeze(right, between)), batch + rows + columns};
    }
    // Where the operand already has the order of a transposed matrix, it stays as it is.
    const bool flip_a = a.labels != batch + rows + inner && a.labels == batch + inner + rows;
    const bool flip_b = b.labels != batch + inner + columns && b.labels == batch + columns + inner;
    const Var left = flip_a ? matrix(a, batch, inner, rows) : matrix(a, batch, rows, inner);
    const Var right = flip_b ? matrix(b, batch, columns, inner) : matrix(b, batch, inner, columns);
    const Var y = matmul(left, right, flip_a, flip_b);
    if (rows.size() == 1 && columns.size() == 1) return {y, batch + rows + columns};
    return {shaped(n_, y, extents_of_labels(batch + rows + columns)), batch + rows + columns};
  }

  Var arranged(const Term& term, const std::string& labels) {
    Ints order;
    for (const char label : labels) order.push_back(term.axis(label));
    return is_sorted(order) ? term.x : transpose(term.x, order);
  }

  // `term` as matrices [batch..., rows, columns], each of the last two one dimension whatever it is made of.
  Var matrix(const Term& term, const std::string& batch, const std::string& rows, const std::string& columns) {
    const Var x = arranged(term, batch + rows + columns);
    if (rows.size() == 1 && columns.size() == 1) return x;
    std::vector<Var> extents;
    for (int axis = 0; axis < static_cast<int>(batch.size()); ++axis) extents.push_back(extent_of(x, axis));
    extents.push_back(n_.settled(ml::onnx::product(n_.graph, extents_of_labels(rows))));
    extents.push_back(n_.settled(ml::onnx::product(n_.graph, extents_of_labels(columns))));
    return shaped(n_, x, extents);
  }

  std::vector<Var> extents_of_labels(const std::string& labels) const {
    std::vector<Var> extents;
    for (const char label : labels) extents.push_back(extents_.at(label));
    return extents;
  }

  Node n_;
  std::vector<Term> terms_;
  std::string output_;
  std::map<char, Var> extents_;  // i64[] of every label
};

Results einsum(Node n) { return {Einsum(n).run()}; }

constexpr Operator kOperators[] = {
    {"Einsum", 12, kAny, einsum},
};

}  // namespace

std::span<const Operator> einsum_operators() { return kOperators; }

}  // namespace ml::onnx
