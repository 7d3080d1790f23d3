#include "engine/graph/ops/indexing.h"

#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

auto along(std::int64_t axis) {
  return with<AxisAttributes>([axis](AxisAttributes& a) { a.axis = axis; });
}

Input indices(const Shape& shape, std::int64_t limit, DType dtype = DType::i64, Fill values = Fill::index) {
  return {shape, values, dtype, limit, {}};
}

std::vector<Sample> gather() {
  return {
      {"one", {{{5, 3}}, indices({}, 5)}, along(0)},
      {"no indices", {{{5, 3}}, indices({0}, 5)}, along(0)},
      {"from nothing", {{kEmpty}, indices({4}, 3)}, along(0)},
      {"middle", {{kOdd}, indices({2, 3}, 5)}, along(1)},
      {"innermost, i32", {{kOdd}, indices({4}, 7, DType::i32)}, along(2)},
      {"out of range", {{{5, 3}}, indices({17}, 5, DType::i64, Fill::wild_index)}, along(0)},
      {"out of range, i32", {{{5, 3}}, indices({17}, 3, DType::i32, Fill::wild_index)}, along(1)},
      {"everything is out of range", {{{0, 3}}, indices({4}, 3)}, along(0)},
      {"large", {{kLarge}, indices({300}, 257)}, along(0)},
      {"large columns", {{kLarge}, indices({300}, 263)}, along(1)},
  };
}
auto written(std::int64_t axis, Reduction reduction = Reduction::add) {
  return with<ScatterAttributes>([=](ScatterAttributes& a) {
    a.axis = axis;
    a.reduction = static_cast<std::int64_t>(reduction);
  });
}
// Every reduction but the sum, with many updates of few places. Each element has its index, or each row.
void add_reductions(std::vector<Sample>& samples, bool each) {
  const std::pair<const char*, Reduction> reductions[] = {{"last of ", Reduction::set},
                                                          {"product of ", Reduction::mul},
                                                          {"maximum of ", Reduction::max},
                                                          {"minimum of ", Reduction::min}};
  for (const auto& [name, reduction] : reductions) {
    const std::string label(name);
    const Fill values = reduction == Reduction::mul ? Fill::any : Fill::special;
    const auto rows = [each](std::int64_t count, std::int64_t width) {
      return each ? Shape{count, width} : Shape{count};
    };
    samples.push_back(
        {label + "many", {{{5, 9}, values}, indices(rows(23, 9), 5), {{23, 9}, values}}, written(0, reduction)});
    samples.push_back({label + "none", {{{5, 9}}, indices(rows(0, 9), 5), {{0, 9}}}, written(0, reduction)});
    samples.push_back(
        {label + "a large one", {{kLarge}, indices(rows(300, 263), 257), {{300, 263}}}, written(0, reduction)});
  }
}

std::vector<Sample> scatter() {
  std::vector<Sample> samples = {
      {"one", {{{5, 3}}, indices({}, 5), {{3}}}, written(0)},
      {"no indices", {{{5, 3}}, indices({0}, 5), {{0, 3}}}, written(0)},
      {"into nothing", {{kEmpty}, indices({4}, 3), {{4, 0}}}, written(0)},
      {"middle", {{kOdd}, indices({2, 3}, 5), {{3, 2, 3, 7}}}, written(1)},
      {"innermost, i32", {{kOdd}, indices({4}, 7, DType::i32), {{3, 5, 4}}}, written(2)},
      {"out of range", {{{5, 3}}, indices({17}, 5, DType::i64, Fill::wild_index), {{17, 3}}}, written(0)},
      {"many on one", {{{2, 3}, Fill::exact}, indices({61}, 2), {{61, 3}, Fill::exact}}, written(0)},
      {"large", {{kLarge, Fill::exact}, indices({300}, 257), {{300, 263}, Fill::exact}}, written(0)},
      {"large columns", {{kLarge, Fill::exact}, indices({300}, 263), {{257, 300}, Fill::exact}}, written(1)},
  };
  add_reductions(samples, false);
  return samples;
}
std::vector<Sample> gather_elements() {
  return {
      {"no indices", {{{5, 3}}, indices({0, 3}, 5)}, along(0)},
      {"odd", {{kOdd}, indices({3, 2, 7}, 5)}, along(1)},
      {"fewer, i32", {{kOdd}, indices({2, 5, 9}, 7, DType::i32)}, along(2)},
      {"out of range", {{{5, 3}}, indices({17, 3}, 5, DType::i64, Fill::wild_index)}, along(0)},
      {"large", {{kLarge}, indices(kLarge, 257)}, along(0)},
  };
}
std::vector<Sample> scatter_elements() {
  std::vector<Sample> samples = {
      {"no indices", {{{5, 3}}, indices({0, 3}, 5), {{0, 3}}}, written(0)},
      {"odd", {{kOdd}, indices({3, 2, 7}, 5), {{3, 2, 7}}}, written(1)},
      {"fewer, i32", {{kOdd}, indices({2, 5, 9}, 7, DType::i32), {{2, 5, 9}}}, written(2)},
      {"out of range", {{{5, 3}}, indices({17, 3}, 5, DType::i64, Fill::wild_index), {{17, 3}}}, written(0)},
      {"large", {{kLarge, Fill::exact}, indices(kLarge, 257), {kLarge, Fill::exact}}, written(0)},
  };
  add_reductions(samples, true);
  return samples;
}

auto sorted(std::int64_t axis, bool descending) {
  return with<SortAttributes>([=](SortAttributes& a) {
    a.axis = axis;
    a.descending = descending;
  });
}
std::vector<Sample> sort() {
  return {
      {"one", {{{1}}}, sorted(0, false)},
      {"empty", {{kEmpty}}, sorted(1, false)},
      {"odd", {{kOdd}}, sorted(1, false)},
      {"descending", {{kOdd}}, sorted(2, true)},
      {"ties", {{{9, 31}, Fill::few}}, sorted(1, false)},
      {"ties, descending", {{{9, 31}, Fill::few}}, sorted(1, true)},
      {"special", {{{11, 23}, Fill::special}}, sorted(1, false)},
      {"special, descending", {{{11, 23}, Fill::special}}, sorted(1, true)},
      {"large", {{kLarge}}, sorted(0, false)},
  };
}

auto best(std::int64_t k, std::int64_t axis, bool largest) {
  return with<TopKAttributes>([=](TopKAttributes& a) {
    a.k = k;
    a.axis = axis;
    a.largest = largest;
  });
}
std::vector<Sample> top_k() {
  return {
      {"none", {{{5, 3}}}, best(0, 0, true)},
      {"of nothing", {{{0, 3}}}, best(0, 0, true)},
      {"odd", {{kOdd}}, best(3, 1, true)},
      {"smallest", {{kOdd}}, best(2, 2, false)},
      {"ties", {{{9, 31}, Fill::few}}, best(7, 1, true)},
      {"ties, smallest", {{{9, 31}, Fill::few}}, best(7, 1, false)},
      {"special", {{{11, 23}, Fill::special}}, best(9, 1, true)},
      {"all of it, large", {{kLarge}}, best(263, 1, true)},
  };
}

}  // namespace

std::vector<OpSamples> indexing_samples() {
  return {
      {"gather", gather()},
      {"scatter", scatter()},
      {"gather_elements", gather_elements()},
      {"scatter_elements", scatter_elements()},
      {"sort", sort()},
      {"top_k", top_k()},
  };
}

}  // namespace ml::test
