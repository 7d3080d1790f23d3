#include "engine/graph/ops/dynamic.h"

#include "tests/matrix/sample.h"

namespace ml::test {
namespace {

Input extents(Ints values) {
  return {{static_cast<std::int64_t>(values.size())}, Fill::any, DType::i64, 1, std::move(values)};
}
auto reshaped(bool allow_zero) {
  return with<ReshapeToAttributes>([=](ReshapeToAttributes& a) { a.allow_zero = allow_zero; });
}
auto sliced(Ints axes) {
  return with<SliceByAttributes>([&](SliceByAttributes& a) { a.axes = std::move(axes); });
}

}  // namespace

// These rows exist only until shapes are bound; what they become is compared.
std::vector<OpSamples> dynamic_samples() {
  return {
      {"shape_of",
       {{"scalar", {{kScalar}}, {}}, {"empty", {{kEmpty}}, {}}, {"odd", {{kOdd}}, {}}, {"large", {{kLarge}}, {}}}},
      {"reshape_to",
       {{"empty", {{kEmpty}, extents({0, 2})}, reshaped(true)},
        {"odd", {{kOdd}, extents({7, -1})}, reshaped(false)},
        {"as before", {{kOdd}, extents({0, 35})}, reshaped(false)},
        {"large", {{kLarge}, extents({263, 257})}, reshaped(false)}}},
      {"expand_to",
       {{"empty", {{{3, 1}}, extents({3, 0})}, {}},
        {"odd", {{{3, 1, 7}}, extents({2, 3, 5, 1})}, {}},
        {"large", {{{263}}, extents({257, 263})}, {}}}},
      {"slice_by",
       {{"to nothing", {{kOdd}, extents({3}), extents({3}), extents({1})}, sliced({1})},
        {"odd", {{kOdd}, extents({1, -4}), extents({99, -1}), extents({1, 2})}, sliced({0, 2})},
        {"backwards", {{kOdd}, extents({-1, 3}), extents({-99, 0}), extents({-1, -2})}, sliced({0, 1})},
        {"large", {{kLarge}, extents({255}), extents({1}), extents({-1})}, sliced({0})}}},
      {"transpose_by",
       {{"empty", {{kEmpty}, extents({1, 0})}, {}},
        {"odd", {{kOdd}, extents({2, 0, 1})}, {}},
        {"from the end", {{{2, 2, 2}}, extents({-1, 1, -3})}, {}},
        {"large", {{kLarge}, extents({1, 0})}, {}}}},
  };
}

}  // namespace ml::test
