// Operators on pictures in ONNX models: what is refused and how, and what stays out of the graph.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "tests/unit/formats/onnx_refusals.h"

namespace ml {
namespace {

using namespace onnx_models;

constexpr std::int64_t kHuge = std::int64_t{1} << 40, kMost = std::numeric_limits<std::int64_t>::max();

TEST(OnnxPictures, SaysWhatIsWrong) {
  const std::vector<int> x{1, 2, 5, 6};
  const Refusal cases[] = {
      {"sizes and scales", 13, "Resize", {x, {}}, {{1, 1, 2, 2}, {1, 2, 5, 6}}, {}, {}, {}, "one of scales and sizes"},
      {"neither", 13, "Resize", {x}, {}, {}, {}, {}, "one of scales and sizes is needed"},
      {"too few sizes", 13, "Resize", {x, {}, {}}, {{5, 6}}, {}, {}, {}, "sizes [2] for 4 axes"},
      {"an axis twice", 18, "Resize", {x, {}, {}}, {{5, 6}}, {{"axes", {2, -2}}}, {}, {}, "axis 2 is named twice"},
      {"no roi",
       13,
       "Resize",
       {x, {}, {}},
       {{1, 2, 5, 9}},
       {},
       {},
       {{"coordinate_transformation_mode", "tf_crop_and_resize"}},
       "needs a roi"},
      {"a scale of 0",
       13,
       "Resize",
       {x, {}},
       {{1, 1, 0, 1}},
       {},
       {},
       {},
       "a scale or a size of axis 2 is not positive"},
      {"a negative size",
       13,
       "Resize",
       {x, {}, {}},
       {{1, 2, -4, 6}},
       {},
       {},
       {},
       "a scale or a size of axis 2 is not positive"},
      {"a size beyond memory",
       13,
       "Resize",
       {x, {}, {}},
       {{1, 2, kHuge, kHuge}},
       {},
       {},
       {},
       "is larger than 2^48 bytes"},
      {"an unknown mode", 13, "Resize", {x, {}, {}}, {{1, 2, 5, 9}}, {}, {}, {{"mode", "sinc"}}, "mode 'sinc'"},
      {"cubic before there was one", 10, "Resize", {x}, {{1, 1, 2, 2}}, {}, {}, {{"mode", "cubic"}}, "mode 'cubic'"},
      {"a coordinate mode that went",
       13,
       "Resize",
       {x, {}, {}},
       {{1, 2, 5, 9}},
       {},
       {},
       {{"coordinate_transformation_mode", "tf_half_pixel_for_nn"}},
       "coordinate_transformation_mode 'tf_half_pixel_for_nn'"},
      {"a policy",
       18,
       "Resize",
       {x, {}, {}},
       {{1, 2, 5, 9}},
       {},
       {},
       {{"keep_aspect_ratio_policy", "larger"}},
       "keep_aspect_ratio_policy 'larger'"},
      {"too few scales", 9, "Upsample", {x}, {{2, 2}}, {}, {}, {}, "scales [2] for 4 axes"},
      {"a grid of another rank",
       16,
       "GridSample",
       {x, {1, 3, 2}},
       {},
       {},
       {},
       {},
       "a grid [1, 3, 2] over [1, 2, 5, 6]"},
      {"a grid of triples", 16, "GridSample", {x, {1, 3, 2, 3}}, {}, {}, {}, {}, "a grid [1, 3, 2, 3] over"},
      {"a padding mode",
       16,
       "GridSample",
       {x, {1, 3, 2, 2}},
       {},
       {},
       {},
       {{"padding_mode", "wrap"}},
       "padding_mode 'wrap'"},
      {"sizes of another rank",
       20,
       "AffineGrid",
       {{1, 2, 3}},
       {{1, 2, 3, 4, 5}},
       {},
       {},
       {},
       "theta [1, 2, 3] for a size of [5] extents"},
      {"offset groups",
       19,
       "DeformConv",
       {x, {4, 2, 3, 3}, {1, 18, 3, 4}},
       {},
       {},
       {{"offset_group", 3}},
       {},
       "3 offset groups for an input"},
      {"no bins", 16, "RoiAlign", {x, {3, 4}}, {{0, 0, 0}}, {}, {{"output_height", 0}}, {}, "output_height 0"},
      {"samples beyond patience",
       16,
       "RoiAlign",
       {x, {3, 4}},
       {{0, 0, 0}},
       {},
       {{"sampling_ratio", kHuge}},
       {},
       "sampling_ratio 1099511627776"},
      {"boxes without scores for each",
       11,
       "NonMaxSuppression",
       {{1, 6, 4}, {1, 2, 5}},
       {{3}},
       {},
       {},
       {},
       "scores [1, 2, 5] do not fit boxes [1, 6, 4]"},
      {"no window", 11, "MaxPool", {x}, {}, {}, {}, {}, "a window of 0 dimensions over [1, 2, 5, 6]"},
      {"a window of nothing",
       11,
       "MaxPool",
       {x},
       {},
       {{"kernel_shape", {0, 2}}},
       {},
       {},
       "kernel_shape has an entry of 0"},
      {"a stride of nothing",
       11,
       "AveragePool",
       {x},
       {},
       {{"kernel_shape", {2, 2}}, {"strides", {0, 1}}},
       {},
       {},
       "strides has an entry of 0"},
      {"too few pads",
       11,
       "AveragePool",
       {x},
       {},
       {{"kernel_shape", {2, 2}}, {"pads", {1, 1}}},
       {},
       {},
       "pads has 2 entries, 4 are needed"},
      {"a dilation beyond numbers",
       19,
       "AveragePool",
       {x},
       {},
       {{"kernel_shape", {2, 2}}, {"dilations", {kMost, 1}}},
       {},
       {},
       "dilations has an entry of"},
      {"a norm of 0", 18, "LpPool", {x}, {}, {{"kernel_shape", {2, 2}}}, {{"p", 0}}, {}, "p is 0"},
      {"no channels to look at", 13, "LRN", {x}, {}, {}, {{"size", 0}}, {}, "a size of 0 over"},
      {"pads for fewer axes", 18, "Pad", {x}, {{1, 1, 1}}, {}, {}, {}, "pads [3] for 4 axes, two for each are needed"},
      {"pads beyond memory",
       18,
       "Pad",
       {x},
       {{0, 0, kHuge, 0, 0, 0, 0, kHuge}},
       {},
       {},
       {},
       "is larger than 2^48 bytes"},
      {"pads beyond numbers",
       18,
       "Pad",
       {x},
       {{0, 0, kMost, 0, 0, 0, 0, 0}},
       {},
       {},
       {{"mode", "constant"}},
       "exceed 2^63"},
      {"copies beyond memory",
       18,
       "Pad",
       {x},
       {{0, 0, kHuge, 0, 0, 0, 0, kHuge}},
       {},
       {},
       {{"mode", "edge"}},
       "is larger than 2^48 bytes"},
      {"a way to pad", 18, "Pad", {x}, {{0, 0, 1, 0, 0, 0, 0, 0}}, {}, {}, {{"mode", "mirror"}}, "mode 'mirror'"},
      {"a crop for fewer axes", 18, "CenterCropPad", {x}, {{3, 3}}, {}, {}, {}, "a shape of [2] extents for 4 axes"},
      {"columns beyond memory", 18, "Col2Im", {{1, 4, 5}}, {{kHuge, kHuge}, {2, 2}}, {}, {}, {}, "Col2Im"},
      {"pads that leave nothing",
       11,
       "ConvTranspose",
       {x, {2, 2, 2, 2}},
       {},
       {{"pads", {4, 0, 4, 0}}},
       {},
       {},
       "its pads cut off more than there is along axis 2"},
  };
  for (const Refusal& c : cases)
    EXPECT_NE(message_of(model_of(c)).find(c.message), std::string::npos) << c.what << ": " << message_of(model_of(c));
}

// PyTorch writes the size as the extents of the input with the last two replaced: only those are interpolated.
TEST(OnnxPictures, ResizeLeavesAxesAloneThatKeepTheirExtent) {
  Model model = empty_model(13);
  auto& graph = *model.mutable_graph();
  add_value(graph.mutable_input(), "x", {-1, 3, 8, 8});
  add_numbers(graph, "zero", {0});
  add_numbers(graph, "two", {2});
  add_numbers(graph, "size", {16, 20});
  add_node(graph, "Shape", {"x"}, {"extents"});
  add_node(graph, "Slice", {"extents", "zero", "two"}, {"kept"});
  add_node(graph, "Concat", {"kept", "size"}, {"sizes"}).add_attribute()->set_name("axis");
  graph.mutable_node(2)->mutable_attribute(0)->set_i(0);
  auto& node = add_node(graph, "Resize", {"x", "", "", "sizes"}, {"y"});
  add_attribute(node, "mode").set_s("linear");
  graph.add_output()->set_name("y");
  const Graph imported = import_proto(model);
  EXPECT_EQ(imported.type(imported.outputs()[0].value).shape, (Shape{kUnknown, 3, 16, 20}));
  const auto gathers = [&](const Node& n) { return n.op->name == "gather"; };
  EXPECT_LE(std::ranges::count_if(imported.nodes(), gathers), 4);
  std::vector<float> picture(2 * 3 * 8 * 8, 1.5f);
  const std::vector<HostTensor> results = run(imported, {floats({2, 3, 8, 8}, picture)});
  EXPECT_EQ(results[0].shape, (Shape{2, 3, 16, 20}));
  for (const float value : floats_of(results[0])) ASSERT_NEAR(value, 1.5f, 1e-6f);
}

// With whole offsets a deformable convolution is a plain one of a picture that is moved.
TEST(OnnxPictures, DeformConvMovesWholePositions) {
  std::mt19937 random(7);
  for (const int channels : {6, 140}) {
    Model plain = empty_model(22), deformed = empty_model(22);
    for (Model* model : {&plain, &deformed}) {
      auto& graph = *model->mutable_graph();
      add_value(graph.mutable_input(), "x", {2, channels, 7, 8});
      add_value(graph.mutable_input(), "w", {4, channels / 2, 3, 2});
      if (model == &deformed) add_value(graph.mutable_input(), "offset", {2, 2 * 3 * 2 * 2, 5, 7});
      auto& node = model == &plain ? add_node(graph, "Conv", {"x", "w"}, {"y"})
                                   : add_node(graph, "DeformConv", {"x", "w", "offset"}, {"y"});
      set(node, "group", 2);
      if (model == &deformed) set(node, "offset_group", 2);
      graph.add_output()->set_name("y");
    }
    std::uniform_real_distribution<float> number(-1, 1);
    std::vector<float> x(static_cast<std::size_t>(2 * channels * 7 * 8)),
        w(static_cast<std::size_t>(4 * channels / 2 * 6));
    for (float& value : x) value = number(random);
    for (float& value : w) value = number(random);
    // One down: the last row reads beyond the picture, as in one with a row of zeros at its end.
    std::vector<float> offset(2 * 24 * 35);
    for (std::size_t i = 0; i < offset.size(); ++i) offset[i] = i / 35 % 2 == 0 ? 1.0f : 0.0f;
    std::vector<float> moved(x.size(), 0.0f);
    for (std::size_t i = 0; i + 8 < x.size(); ++i) moved[i] = i % 56 < 48 ? x[i + 8] : 0.0f;
    const Shape shape{2, channels, 7, 8}, weights{4, channels / 2, 3, 2};
    const auto wanted = floats_of(run(import_proto(plain), {floats(shape, moved), floats(weights, w)})[0]);
    const auto got = floats_of(
        run(import_proto(deformed), {floats(shape, x), floats(weights, w), floats({2, 24, 5, 7}, offset)})[0]);
    ASSERT_EQ(got.size(), wanted.size());
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 1e-4) << channels << " channels, " << i;
  }
}

}  // namespace
}  // namespace ml
