#include "tools/mlbench/models/binding.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "engine/formats/onnx/export.h"
#include "engine/formats/onnx/import.h"
#include "engine/runtime/program.h"
#include "ml/error.h"
#include "tools/mlbench/models/models.h"

namespace ml::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Symbols = std::map<std::string, std::int64_t, std::less<>>;

double ms_since(Clock::time_point began) {
  return std::chrono::duration<double, std::milli>(Clock::now() - began).count();
}

struct Bindable {
  std::string_view name;
  std::function<Graph()> build;
  std::string_view grows;  // the symbol that is one more each time
  Symbols others = {};
};

const std::vector<Bindable>& table() {
  static const std::vector<Bindable> rows = {
      {"tiny", build_tiny, "batch"},
      {"mobilenet_v2", build_mobilenet_v2, "batch"},
      {"efficientnet_b0", build_efficientnet_b0, "batch"},
      {"resnet50", build_resnet50, "batch"},
      {"yolo_v5s", build_yolo_v5s, "batch"},
      {"lstm", build_lstm, "batch"},
      {"bert_base", [] { return build_bert_base(kUnknown); }, "tokens", {{"batch", 1}}},
      {"gpt2_prefill", [] { return build_gpt2(0, kUnknown); }, "tokens", {{"batch", 1}}},
      {"gpt2_decode", [] { return build_gpt2(kUnknown, 1); }, "past", {{"batch", 1}}},
  };
  return rows;
}

Graph through_onnx(const Graph& graph) {
  const auto bytes = std::make_shared<std::vector<std::byte>>();
  onnx::export_model(
      graph, [&](std::span<const std::byte> piece) { bytes->insert(bytes->end(), piece.begin(), piece.end()); });
  return onnx::import_model(std::make_shared<const Blob>(*bytes, bytes, std::string(graph.name)),
                            runtime::reference_evaluate());
}

std::vector<Shape> shapes_of(const Graph& graph, const Symbols& symbols) {
  std::vector<Shape> shapes;
  for (const GraphInput& input : graph.inputs()) {
    Shape shape = graph.type(input.value).shape;
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] == kUnknown) shape[axis] = symbols.at(input.symbols[static_cast<std::size_t>(axis)]);
    }
    shapes.push_back(shape);
  }
  return shapes;
}

std::size_t computing_nodes(const Graph& graph) {
  return static_cast<std::size_t>(
      std::ranges::count_if(graph.nodes(), [](const Node& node) { return node.op->kind != OpKind::constant; }));
}

std::size_t bytes_of(const TensorType& type) {
  return static_cast<std::size_t>(type.shape.elements()) * dtype_size(type.dtype);
}

// A loaded GPT-2 with its device memory: inputs, and outputs of each execution.
class Decoder {
 public:
  Decoder(const Graph& graph, Device& device)
      : graph_(graph), device_(device), program_(graph_, device, {}), context_(device) {
    for (const GraphInput& input : graph_.inputs()) names_.push_back(input.name);
  }

  // One token; answers the logits. `past` is how many tokens the cache holds, `extent` the extent that its shape has.
  std::vector<float> step(std::int64_t past, std::int64_t extent) {
    const Clock::time_point began = Clock::now();
    const std::shared_ptr<const runtime::StagedPlan> plan =
        plan_for(shapes_of(graph_, {{"batch", 1}, {"past", extent}}));
    bind_ms_ += ms_since(began);
    const std::span<const TensorType> inputs = plan->inputs(), outputs = plan->outputs();
    std::vector<BufferSpan> in, out;
    for (std::size_t i = 0; i < inputs.size(); ++i) in.push_back(input(names_[i], inputs[i], past));
    std::vector<std::shared_ptr<Buffer>> made;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const std::uint32_t donor = program_.donated_from(i);
      if (donor != runtime::Program::kNotDonated) {
        out.push_back(in[donor]);
        continue;
      }
      made.push_back(device_.allocate(bytes_of(outputs[i])));
      out.push_back({made.back().get(), 0, bytes_of(outputs[i])});
    }
    plan->run(context_, in, out);
    std::vector<float> logits(out[0].size / sizeof(float));
    context_.stream().download(logits.data(), out[0]);
    context_.synchronize();
    if (made.size() == outputs.size()) caches_.assign(made.begin() + 1, made.end());
    ms_ += ms_since(began);
    return logits;
  }
  // Binds shapes of this extent, so that no step has to pack weights.
  void load(std::int64_t extent) { plan_for(shapes_of(graph_, {{"batch", 1}, {"past", extent}})); }
  double ms() const { return ms_; }
  double bind_ms() const { return bind_ms_; }

 private:
  std::shared_ptr<const runtime::StagedPlan> plan_for(const std::vector<Shape>& shapes) {
    if (auto plan = program_.find([&](std::size_t i, const Shape& shape) { return shapes[i] == shape; })) return plan;
    auto plan = program_.prepare(shapes);
    program_.keep(plan);
    return plan;
  }

  // Numbers are set, caches are what the step before has left; the first ones are zeros.
  BufferSpan input(const std::string& name, const TensorType& type, std::int64_t past) {
    const std::size_t bytes = bytes_of(type);
    if (name.starts_with("past_key_values.")) {
      const std::size_t index = next_cache_++ % (names_.size() - numbers());
      if (caches_.size() <= index) caches_.push_back(device_.allocate(bytes));
      return {caches_[index].get(), 0, bytes};
    }
    std::shared_ptr<Buffer>& buffer = numbers_[name];
    if (!buffer) buffer = device_.allocate(bytes);
    const std::int64_t value = name == "input_ids" ? (past * 7919 + 11) % 50257 : name == "lengths" ? past + 1 : past;
    context_.stream().upload({buffer.get(), 0, bytes}, &value);
    context_.synchronize();
    return {buffer.get(), 0, bytes};
  }
  std::size_t numbers() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(names_, [](const std::string& name) { return !name.starts_with("past_key_values."); }));
  }

  Graph graph_;
  Device& device_;
  runtime::Program program_;
  runtime::StreamContext context_;
  std::vector<std::string> names_;
  std::map<std::string, std::shared_ptr<Buffer>> numbers_;
  std::vector<std::shared_ptr<Buffer>> caches_;
  std::size_t next_cache_ = 0;
  double ms_ = 0, bind_ms_ = 0;
};

}  // namespace

std::vector<std::string_view> bindable_models() {
  std::vector<std::string_view> names;
  for (const Bindable& row : table()) names.push_back(row.name);
  return names;
}

BindingCost binding_cost(std::string_view model, int threads, int rounds) {
  const auto row = std::ranges::find(table(), model, &Bindable::name);
  if (row == table().end()) throw Error(Code::not_found, "no model to bind is called \"" + std::string(model) + "\"");
  const std::unique_ptr<Device> device = create_cpu_device(threads);
  const Graph graph = through_onnx(row->build());
  runtime::Program program(graph, *device, {});
  BindingCost cost;
  cost.nodes = computing_nodes(program.graph());
  Symbols symbols = row->others;
  std::vector<double> times;
  for (int round = 0; round <= rounds; ++round) {
    symbols[std::string(row->grows)] = round + 2;
    const std::vector<Shape> shapes = shapes_of(graph, symbols);
    const Clock::time_point began = Clock::now();
    const std::shared_ptr<const runtime::StagedPlan> plan = program.prepare(shapes);
    const double ms = ms_since(began);
    round == 0 ? (void)(cost.first_ms = ms) : times.push_back(ms);
    if (round == 0) cost.packed = program.device_bytes();
    cost.more = program.device_bytes() - cost.packed;
    cost.arena = plan->first().scratch_bytes();
    cost.bound = plan->first().scratch_lower_bound();
  }
  std::ranges::sort(times);
  cost.ms = times[times.size() / 2];
  return cost;
}

DecodingCost decoding_cost(int threads, int tokens) {
  const std::unique_ptr<Device> device = create_cpu_device(threads);
  Decoder growing(through_onnx(build_gpt2(kUnknown, 1)), *device), fixed(build_gpt2(tokens, 1, true), *device);
  growing.load(tokens + 1);
  fixed.load(tokens);
  DecodingCost cost;
  for (std::int64_t past = 0; past < tokens; ++past) {
    const std::vector<float> a = growing.step(past, past), b = fixed.step(past, tokens);
    float largest = 0, apart = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      largest = std::max(largest, std::abs(a[i]));
      apart = std::max(apart, std::abs(a[i] - b[i]));
    }
    const double share = apart / largest;
    if (std::isnan(share)) throw Error(Code::internal, "decoding answers NaN at token " + std::to_string(past));
    cost.apart = std::max(cost.apart, share);
  }
  cost.growing_ms = growing.ms() / tokens;
  cost.growing_bind_ms = growing.bind_ms() / tokens;
  cost.fixed_ms = fixed.ms() / tokens;
  return cost;
}

}  // namespace ml::bench
