#include "daemon/job/layers.h"

#include <array>
#include <cmath>

#include "daemon/job/values.h"

namespace ml::job {
namespace {

using Make = std::function<std::shared_ptr<nn::Module>()>;

template <class M, class... Arguments>
std::shared_ptr<nn::Module> module(Arguments... arguments) {
  return std::make_shared<M>(std::move(arguments)...);
}

std::int64_t positive(JobTable& table, std::string_view key) {
  std::int64_t value = 1;
  table.integer(key, value, 1, kLargest, Need::required);
  return value;
}
std::int64_t integer_or(JobTable& table, std::string_view key, std::int64_t preset, std::int64_t least = 1) {
  table.integer(key, preset, least, kLargest, Need::optional);
  return preset;
}
bool flag_or(JobTable& table, std::string_view key, bool preset) {
  table.flag(key, preset);
  return preset;
}
double epsilon(JobTable& table) {
  double value = 1e-5;
  table.number("epsilon", value, 0, HUGE_VAL, true, Need::optional);
  return value;
}

Make linear(JobTable& t) {
  const std::int64_t in = positive(t, "in"), out = positive(t, "out");
  const bool bias = flag_or(t, "bias", true);
  return [=] { return module<nn::Linear>(in, out, bias); };
}

Make conv2d(JobTable& t) {
  const std::int64_t in = positive(t, "in"), out = positive(t, "out"), kernel = positive(t, "kernel");
  nn::Conv2dOptions options;
  options.stride = integer_or(t, "stride", 1);
  options.padding = integer_or(t, "padding", 0, 0);
  options.dilation = integer_or(t, "dilation", 1);
  options.groups = integer_or(t, "groups", 1);
  options.bias = flag_or(t, "bias", true);
  return [=] { return module<nn::Conv2d>(in, out, kernel, options); };
}

Make batch_norm2d(JobTable& t) {
  const std::int64_t features = positive(t, "features");
  const double small = epsilon(t);
  double momentum = 0.1;
  t.number("momentum", momentum, 0, 1, false, Need::optional);
  return [=] { return module<nn::BatchNorm2d>(features, small, momentum); };
}

Make layer_norm(JobTable& t) {
  std::vector<std::int64_t> extents;
  t.integers("shape", extents, 1, Need::required);
  if (extents.size() > static_cast<std::size_t>(kMaxRank)) {
    t.refuse("shape",
             "it has " + std::to_string(extents.size()) + " axes; expected at most " + std::to_string(kMaxRank));
    extents.clear();
  }
  const double small = epsilon(t);
  return [=] {
    Shape shape;
    for (const std::int64_t extent : extents) shape.append(extent);
    return module<nn::LayerNorm>(shape, small);
  };
}

template <class Pool>
Make pool2d(JobTable& t) {
  const std::int64_t kernel = positive(t, "kernel");
  nn::Pool2dOptions options;
  options.stride = integer_or(t, "stride", 0);
  options.padding = integer_or(t, "padding", 0, 0);
  return [=] { return module<Pool>(kernel, options); };
}

Make gelu(JobTable& t) {
  const bool tanh = flag_or(t, "tanh", false);
  return [=] { return module<nn::GELU>(tanh); };
}

Make softmax(JobTable& t) {
  std::int64_t axis = -1;
  t.integer("axis", axis, -kMaxRank, kMaxRank - 1, Need::optional);
  return [=] { return module<nn::Softmax>(static_cast<int>(axis)); };
}

Make dropout(JobTable& t) {
  double p = 0.5;
  t.number("p", p, 0, 1, true, Need::optional);
  return [=] { return module<nn::Dropout>(p); };
}

Make embedding(JobTable& t) {
  const std::int64_t rows = positive(t, "rows"), width = positive(t, "width");
  return [=] { return module<nn::Embedding>(rows, width); };
}

struct Row {
  std::string_view type;
  Make (*read)(JobTable& table);
};
constexpr std::array kRows{
    Row{"linear", linear},
    Row{"conv2d", conv2d},
    Row{"batch_norm2d", batch_norm2d},
    Row{"layer_norm", layer_norm},
    Row{"max_pool2d", pool2d<nn::MaxPool2d>},
    Row{"avg_pool2d", pool2d<nn::AvgPool2d>},
    Row{"relu", [](JobTable&) -> Make { return module<nn::ReLU>; }},
    Row{"gelu", gelu},
    Row{"softmax", softmax},
    Row{"dropout", dropout},
    Row{"flatten", [](JobTable&) -> Make { return module<nn::Flatten>; }},
    Row{"embedding", embedding},
};

}  // namespace

Layer read_layer(const toml::table& table, std::size_t number, daemon::Mistakes& mistakes) {
  Layer layer;
  layer.line = table.source().begin.line;
  const std::string here = "layer " + std::to_string(number);
  JobTable head(table, here + ": ", mistakes);
  head.text("type", layer.type, Need::required);
  if (layer.type.empty()) return layer;
  const Row* row = nullptr;
  std::vector<std::string> types;
  for (const Row& known : kRows) {
    types.emplace_back(known.type);
    if (known.type == layer.type) row = &known;
  }
  if (row == nullptr) {
    const std::string_view meant = daemon::nearest(layer.type, types);
    std::string all;
    for (const std::string& type : types) all += (all.empty() ? "" : ", ") + type;
    head.refuse("type", "'" + layer.type + "' is none; " +
                            (meant.empty() ? "expected one of " + all : "did you mean '" + std::string(meant) + "'?"));
    return layer;
  }
  JobTable keys(table, here + " (" + layer.type + "): ", mistakes);
  keys.keys.node("type");
  const std::size_t before = mistakes.count();
  Make make = row->read(keys);
  keys.keys.finish();
  if (mistakes.count() == before) layer.make = std::move(make);
  return layer;
}

}  // namespace ml::job
