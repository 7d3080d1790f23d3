// Counting n-grams of integers.
#include <algorithm>

#include "engine/formats/onnx/extents.h"
#include "engine/graph/build_dynamic.h"
#include "engine/graph/ops/movement.h"

namespace ml::onnx {
namespace {

using Node = const NodeContext&;
using Results = std::vector<Var>;
constexpr int kAny = kLatestOpset;

// x without its first `front` and last `back` elements along the last dimension.
Var trimmed(Var x, std::int64_t front, std::int64_t back) {
  Ints starts(static_cast<std::size_t>(x.rank()), 0), ends(starts.size(), kSliceToEnd);
  starts.back() = front;
  if (back > 0) ends.back() = -back;
  return slice(x, starts, ends);
}

// How often each of the n-grams [grams, length] stands in x [..., tokens], with `step` tokens from one of its items to
// the next: f32[..., grams].
Var occurrences(Node n, Var x, std::span<const std::int64_t> pool, std::int64_t length, std::int64_t step) {
  const auto grams = static_cast<std::int64_t>(pool.size()) / length;
  Var found;
  for (std::int64_t k = 0; k < length; ++k) {
    Ints items;
    for (std::int64_t g = 0; g < grams; ++g) items.push_back(pool[static_cast<std::size_t>(g * length + k)]);
    const Var tokens = trimmed(x, k * step, (length - 1 - k) * step);
    const Var same = eq(unsqueeze(tokens, {x.rank()}), vector_of(n.graph, items));
    found = found ? logical_and(found, same) : same;
  }
  return reduce_sum(cast(found, DType::f32), {x.rank() - 1});
}

// The pool holds all 1-grams, then all 2-grams, ...; ngram_counts says where each length begins.
Results tf_idf_vectorizer(Node n) {
  if (n.has_attribute("pool_strings")) n.unsupported("TfIdfVectorizer of strings");
  const Ints pool = n.ints("pool_int64s"), begins = n.ints("ngram_counts"), columns = n.ints("ngram_indexes");
  const std::int64_t shortest = n.integer("min_gram_length", 1), longest = n.integer("max_gram_length", 1);
  const std::int64_t skips = n.integer("max_skip_count", 0);
  const std::string mode = n.text("mode", "TF");
  constexpr std::int64_t kMost = 1024;  // lengths and skips: each pair of them is a few nodes
  if (shortest < 1 || longest < shortest || longest > kMost || skips < 0 || skips > kMost ||
      longest * (skips + 1) > kMost)
    n.invalid("n-grams of " + std::to_string(shortest) + " to " + std::to_string(longest) + " items with up to " +
              std::to_string(skips) + " skipped");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF") n.invalid("mode '" + mode + "'");
  if (columns.empty() || *std::ranges::min_element(columns) < 0)
    n.invalid("ngram_indexes must be columns of the result");
  const std::int64_t width = *std::ranges::max_element(columns) + 1;
  if (width > static_cast<std::int64_t>(pool.size()))
    n.invalid("column " + std::to_string(width - 1) + " of a pool of " + std::to_string(pool.size()) + " items");
  const Var x = cast(n.in(0), DType::i64);
  if (x.rank() != 1 && x.rank() != 2) n.invalid("tokens [n] or [batch, n] are needed, not " + x.shape().str());

  std::vector<Var> counts;
  Ints targets;            // the column of each count
  std::size_t passed = 0;  // n-grams that are shorter
  for (std::int64_t length = 1; length <= longest && length <= static_cast<std::int64_t>(begins.size()); ++length) {
    const auto at = static_cast<std::size_t>(length);
    const std::int64_t begin = begins[at - 1],
                       end = at < begins.size() ? begins[at] : static_cast<std::int64_t>(pool.size());
    if (begin < 0 || end < begin || end > static_cast<std::int64_t>(pool.size()) || (end - begin) % length != 0)
      n.invalid("ngram_counts: " + std::to_string(length) + "-grams from " + std::to_string(begin) + " to " +
                std::to_string(end));
    const auto grams = static_cast<std::size_t>((end - begin) / length);
    if (passed + grams > columns.size())
      n.invalid("ngram_indexes has " + std::to_string(columns.size()) + " entries, too few");
    if (length >= shortest && grams > 0) {
      const auto mine = std::span(pool).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
      Var total;
      for (std::int64_t skip = 0; skip <= (length == 1 ? 0 : skips); ++skip) {
        const Var some = occurrences(n, x, mine, length, skip + 1);
        total = total ? total + some : some;
      }
      counts.push_back(total);
      targets.insert(targets.end(), columns.begin() + static_cast<std::ptrdiff_t>(passed),
                     columns.begin() + static_cast<std::ptrdiff_t>(passed + grams));
    }
    passed += grams;
  }

  std::vector<Var> shape{number_of(n.graph, width)};
  if (x.rank() == 2) shape.insert(shape.begin(), extent_of(x, 0));
  Var result = filled(n, scalar(n.graph, DType::f32, 0), vector_of(shape));
  const int last = x.rank() - 1;
  if (!counts.empty()) result = scatter_add(result, vector_of(n.graph, targets), concat(counts, last), last);
  if (mode == "TF") return {result};
  if (mode == "IDF") result = minimum(result, 1.0);
  const std::vector<float> weights = n.numbers("weights");
  if (weights.empty()) return {result};
  if (weights.size() != columns.size())
    n.invalid(std::to_string(weights.size()) + " weights of " + std::to_string(columns.size()) + " n-grams");
  std::vector<float> of_columns(static_cast<std::size_t>(width), 1.0F);
  for (std::size_t i = 0; i < columns.size(); ++i) of_columns[static_cast<std::size_t>(columns[i])] = weights[i];
  return {result * constant(n.graph, make_constant(DType::f32, Shape{width}, std::as_bytes(std::span(of_columns))))};
}

constexpr Operator kOperators[] = {
    {"TfIdfVectorizer", 9, kAny, tf_idf_vectorizer},
};

}  // namespace

std::span<const Operator> text_operators() { return kOperators; }

}  // namespace ml::onnx
