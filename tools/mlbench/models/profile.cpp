#include "tools/mlbench/models/profile.h"

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "engine/formats/onnx/import.h"
#include "engine/passes/passes.h"
#include "engine/runtime/plan.h"
#include "ml/error.h"

namespace ml::bench {
namespace {

using Clock = std::chrono::steady_clock;

std::shared_ptr<const Blob> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const auto bytes =
      std::make_shared<std::vector<char>>(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  if (!file) throw Error(Code::not_found, "cannot be read", path);
  return std::make_shared<const Blob>(std::as_bytes(std::span(*bytes)), bytes, path);
}

double bytes_of(const TensorType& type) {
  return static_cast<double>(type.shape.elements()) * static_cast<double>(dtype_size(type.dtype));
}

// What one step has taken.
struct Times {
  std::string kernel, step;
  double flops = 0;
  double seconds = 0;
  std::int64_t launches = 0;
};

class TimedKernel final : public Kernel {
 public:
  TimedKernel(std::unique_ptr<Kernel> kernel, Times& times) : kernel_(std::move(kernel)), times_(times) {}
  std::size_t scratch_bytes() const override { return kernel_->scratch_bytes(); }
  bool in_place(std::size_t input, std::size_t output) const override { return kernel_->in_place(input, output); }
  ConstantUse constant_use(std::size_t input) const override { return kernel_->constant_use(input); }
  void launch(Stream& stream, std::span<const BufferSpan> inputs, std::span<const BufferSpan> outputs,
              BufferSpan scratch) const override {
    const Clock::time_point began = Clock::now();
    kernel_->launch(stream, inputs, outputs, scratch);  // the cpu device runs it at once
    times_.seconds += std::chrono::duration<double>(Clock::now() - began).count();
    ++times_.launches;
  }

 private:
  std::unique_ptr<Kernel> kernel_;
  Times& times_;
};

std::string text(const TensorType& type) { return std::string(dtype_name(type.dtype)) + type.shape.str(); }

// "convolution f32[1, 3, 224, 224], ... -> f32[1, 64, 112, 112]"; of a fused kernel the ops in it.
std::string step_text(const Graph& graph, const Node& node) {
  std::string line(node.op->name);
  if (node.op->name == "fused") {
    std::string inner;
    for (const Node& part : node.as<BodyAttributes>().body->nodes()) {
      if (part.op->kind != OpKind::constant) inner += (inner.empty() ? "" : " ") + std::string(part.op->name);
    }
    line += "(" + inner + ")";
  }
  for (std::size_t i = 0; i < node.inputs.size(); ++i) line += (i == 0 ? " " : ", ") + text(graph.type(node.inputs[i]));
  return line + " -> " + text(graph.type(node.output(0)));
}

std::vector<TensorType> output_types(const Graph& graph, const Node& node) {
  std::vector<TensorType> types;
  for (std::uint32_t i = 0; i < node.output_count; ++i) types.push_back(graph.type(node.output(i)));
  return types;
}

double flops_of(const Graph& graph, const Node& node) {
  return cost(*node.op, types_of(graph, node.inputs), output_types(graph, node), *node.attributes).flops;
}

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(line, sizeof line, pattern, arguments);
  va_end(arguments);
  return line;
}

std::string table_of(const std::vector<std::unique_ptr<Times>>& steps, double runs, double total) {
  std::map<std::string, Times> by_kernel;
  double inside = 0;
  for (const auto& step : steps) {
    Times& sum = by_kernel[step->kernel];
    sum.kernel = step->kernel;
    sum.seconds += step->seconds;
    sum.flops += step->flops * static_cast<double>(step->launches);
    sum.launches += step->launches;
    inside += step->seconds;
  }
  std::vector<Times> kernels;
  kernels.reserve(by_kernel.size());
  for (const auto& [name, sum] : by_kernel) kernels.push_back(sum);
  std::ranges::sort(kernels, std::ranges::greater{}, &Times::seconds);
  const auto row = [&](const std::string& name, double launches, double seconds, double flops) {
    return format("| %s | %.0f | %.3f | %.1f %% | %.1f |\n", name.c_str(), launches / runs, 1e3 * seconds / runs,
                  100 * seconds / total, seconds > 0 ? flops / seconds / 1e9 : 0);
  };
  std::string out = "| kernel | launches | ms | share | GFLOP/s |\n|---|---|---|---|---|\n";
  for (const Times& kernel : kernels)
    out += row(kernel.kernel, static_cast<double>(kernel.launches), kernel.seconds, kernel.flops);
  return out + row("between them", 0, total - inside, 0);
}

std::string slowest(const std::vector<std::unique_ptr<Times>>& steps, double runs) {
  std::vector<const Times*> order;
  order.reserve(steps.size());
  for (const auto& step : steps) order.push_back(step.get());
  std::ranges::sort(order, std::ranges::greater{}, &Times::seconds);
  std::string out = "| ms | GFLOP/s | step | kernel |\n|---|---|---|---|\n";
  for (std::size_t i = 0; i < std::min<std::size_t>(12, order.size()); ++i) {
    const Times& step = *order[i];
    out += format("| %.3f | %.1f | %s | %s |\n", 1e3 * step.seconds / runs,
                  step.flops * static_cast<double>(step.launches) / step.seconds / 1e9, step.step.c_str(),
                  step.kernel.c_str());
  }
  return out;
}

}  // namespace

Graph bound_model(const std::string& path, std::span<const NamedArray> inputs) {
  const passes::Evaluate evaluate = runtime::reference_evaluate();
  const Graph graph = passes::simplify(onnx::import_model(read_file(path), evaluate), evaluate);
  std::vector<Shape> shapes;
  for (const NamedArray& input : inputs) shapes.push_back(input.shape);
  return passes::bind(graph, shapes, evaluate);
}

Work work_of(const Graph& bound) {
  Work work;
  std::set<ValueId> read;
  for (const Node& node : bound.nodes()) {
    if (node.op->kind == OpKind::constant) continue;
    work.flops += flops_of(bound, node);
    const bool indexes = node.op->name == "gather" && bound.constant(node.inputs[0]) != nullptr;
    if (indexes) work.bytes += bytes_of(bound.type(node.output(0)));
    for (std::size_t i = indexes ? 1 : 0; i < node.inputs.size(); ++i) {
      const ConstantData* constant = bound.constant(node.inputs[i]);
      if (constant != nullptr && read.insert(node.inputs[i]).second)
        work.weights += static_cast<double>(constant->length());
    }
  }
  work.bytes += work.weights;
  for (const GraphInput& input : bound.inputs()) work.bytes += bytes_of(bound.type(input.value));
  for (const GraphOutput& output : bound.outputs()) work.bytes += bytes_of(bound.type(output.value));
  return work;
}

std::string profile(const Graph& bound, std::span<const NamedArray> inputs, int threads, double seconds) {
  std::vector<std::unique_ptr<Times>> steps;
  runtime::PlanOptions options{.evaluate = runtime::reference_evaluate()};
  options.instrument = [&steps](const Graph& graph, const Node& node, const Implementation& row,
                                std::unique_ptr<Kernel> kernel) -> std::unique_ptr<Kernel> {
    steps.push_back(std::make_unique<Times>());
    steps.back()->kernel = std::string(row.op) + ": " + std::string(row.kernel);
    steps.back()->step = step_text(graph, node);
    steps.back()->flops = flops_of(graph, node);
    return std::make_unique<TimedKernel>(std::move(kernel), *steps.back());
  };
  const std::unique_ptr<Device> device = create_cpu_device(threads);
  runtime::ProgramResources resources(*device);
  const std::unique_ptr<const runtime::Plan> plan = runtime::make_plan(bound, resources, options);

  runtime::StreamContext context(*device);
  std::vector<std::unique_ptr<Buffer>> buffers;
  const auto buffer = [&](std::size_t bytes) {
    buffers.push_back(device->allocate(bytes));
    return BufferSpan{buffers.back().get(), 0, bytes};
  };
  std::vector<BufferSpan> in, out;
  for (const NamedArray& input : inputs) {
    in.push_back(buffer(input.bytes.size()));
    if (!input.bytes.empty()) context.stream().upload(in.back(), input.bytes.data());
  }
  for (const TensorType& type : plan->outputs()) out.push_back(buffer(static_cast<std::size_t>(bytes_of(type))));
  const auto run = [&] {
    plan->run(context, in, out);
    context.synchronize();
  };
  run();
  for (const auto& step : steps) step->seconds = 0, step->launches = 0;
  const Clock::time_point began = Clock::now();
  double total = 0, runs = 0;
  while (runs == 0 || total < seconds) {
    run();
    ++runs;
    total = std::chrono::duration<double>(Clock::now() - began).count();
  }
  return format("%.2f ms a run, mean of %.0f; %zu steps; arena of %.1f MB (at least %.1f)\n\n", 1e3 * total / runs,
                runs, plan->step_count(), static_cast<double>(plan->scratch_bytes()) / 1e6,
                static_cast<double>(plan->scratch_lower_bound()) / 1e6) +
         table_of(steps, runs, total) + "\n" + slowest(steps, runs);
}

}  // namespace ml::bench
