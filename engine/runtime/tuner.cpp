#include "engine/runtime/tuner.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/backends/pack_cache.h"
#include "engine/graph/hashing.h"
#include "engine/graph/text.h"
#include "ml/error.h"

namespace ml::runtime {
namespace {

using Clock = std::chrono::steady_clock;

// To be raised when a kernel's speed changes much: older answers are then measured again.
constexpr int kKernelVersion = 1;
constexpr int kRounds = 5;
constexpr double kEnough = 0.1;       // seconds of rounds for one choice
constexpr double kHopeless = 3;       // times the best: no further rounds
constexpr double kWorthwhile = 0.95;  // of the time of the table's own choice
constexpr double kLeastFlops = 1e5;   // below, launching is what takes time

std::string text(const Operand& operand) {
  std::string line = std::string(dtype_name(operand.type.dtype)) + operand.type.shape.str() + "/";
  for (const std::int64_t stride : operand.layout.strides) line += std::to_string(stride) + ",";
  return line + (operand.constant != nullptr ? "c" : "") + (operand.used ? "" : "u");
}

// Fields by name, in a form that is the same in every process.
class Written final : public AttributeVisitor {
 public:
  std::string line;
  void field(const char* name, bool& v) override { add(name, v ? "1" : "0"); }
  void field(const char* name, std::int64_t& v) override { add(name, std::to_string(v)); }
  void field(const char* name, double& v) override { add(name, std::to_string(std::bit_cast<std::uint64_t>(v))); }
  void field(const char* name, DType& v) override { add(name, std::string(dtype_name(v))); }
  void field(const char* name, Shape& v) override { add(name, v.str()); }
  void field(const char* name, Ints& v) override {
    std::string list;
    for (const std::int64_t x : v) list += std::to_string(x) + ",";
    add(name, list);
  }
  void field(const char* name, GraphPtr& v) override { add(name, v ? hashed(print(*v)) : ""); }
  void field(const char* name, ConstantPtr& v) override { add(name, v ? std::to_string(hash(*v)) : ""); }

 private:
  static std::string hashed(const std::string& text) {
    return std::to_string(hash_bytes(std::as_bytes(std::span(text))));
  }
  void add(const char* name, const std::string& value) { line += std::string(" ") + name + "=" + value; }
};

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string line, model;
  while (std::getline(file, line) && !line.empty()) {
    for (const char* name : {"model name", "cpu family", "model\t", "stepping", "CPU part"}) {
      if (line.starts_with(name)) model += line.substr(line.find(':') + 1);
    }
  }
  return model;
}

bool tunable(const KernelRequest& request) {
  const std::string_view op = request.op.name;
  return op == "matmul" || op == "convolution" || op == "fused_contraction";
}

double flops_of(const KernelRequest& request) {
  std::vector<TensorType> inputs, outputs;
  for (const Operand& operand : request.inputs) inputs.push_back(operand.type);
  for (const Operand& operand : request.outputs) outputs.push_back(operand.type);
  return cost(request.op, inputs, outputs, *request.attributes).flops;
}

std::size_t bytes_of(const Operand& operand) {
  return static_cast<std::size_t>(operand.type.shape.elements()) * dtype_size(operand.type.dtype);
}

// Device memory for one request: inputs and constants hold some small number.
class Operands {
 public:
  Operands(Device& device, const KernelRequest& request) : stream_(device.create_stream()) {
    std::vector<std::byte> bytes;
    for (const Operand& operand : request.inputs) {
      bytes.assign(bytes_of(operand), std::byte{0x3c});  // 0.0115 in f32
      inputs_.push_back(allocate(device, bytes.size()));
      if (!bytes.empty()) stream_->upload(inputs_.back(), bytes.data());
      stream_->record()->wait();
    }
    for (const Operand& operand : request.outputs) outputs_.push_back(allocate(device, bytes_of(operand)));
  }

  BufferSpan allocate(Device& device, std::size_t bytes) {
    buffers_.push_back(device.allocate(bytes));
    return {buffers_.back().get(), 0, bytes};
  }

  double seconds(const Kernel& kernel, BufferSpan scratch) const {
    const Clock::time_point began = Clock::now();
    kernel.launch(*stream_, inputs_, outputs_, scratch);
    stream_->record()->wait();
    return std::chrono::duration<double>(Clock::now() - began).count();
  }

 private:
  std::unique_ptr<Stream> stream_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<BufferSpan> inputs_, outputs_;
};

}  // namespace

Tuner::Tuner(Device& device, TuningMode mode, std::filesystem::path folder, TuningCache::Warn warn)
    : device_(device),
      mode_(mode),
      cache_(std::move(folder), mode == TuningMode::on, warn),
      warn_(std::move(warn)),
      machine_("kernels=" + std::to_string(kKernelVersion) + " cpu=" + cpu_model() + " " + std::string(device.name()) +
               " " + device.fingerprint() + " threads=" + std::to_string(device.traits().threads)) {}

std::size_t Tuner::measured() const {
  const std::lock_guard lock(mutex_);
  return measured_;
}

std::string Tuner::key_of(const KernelRequest& request, std::span<const Implementation* const> rows) const {
  std::string key = machine_ + " op=" + std::string(request.op.name);
  Written attributes;
  inspect(*request.attributes, attributes);
  key += attributes.line;
  for (const Operand& operand : request.inputs) key += " " + text(operand);
  key += " ->";
  for (const Operand& operand : request.outputs) key += " " + text(operand);
  key += " of";
  for (const Implementation* row : rows) key += " " + std::string(row->kernel);
  std::ranges::replace(key, '\n', ' ');
  return key;
}

const Implementation& Tuner::choose(const KernelRequest& request) {
  std::vector<const Implementation*> rows;
  if (tunable(request)) {
    for (const Implementation& row : device_.implementations()) {
      if (row.op == request.op.name && (row.refuse == nullptr || row.refuse(request) == nullptr)) rows.push_back(&row);
    }
  }
  if (rows.size() < 2 || flops_of(request) < kLeastFlops) return ml::choose(device_, request);
  const std::string key = key_of(request, rows);
  const std::lock_guard lock(mutex_);
  const auto [kept, missing] = chosen_.try_emplace(key, rows[0]);
  if (!missing) return *kept->second;
  if (const std::optional<std::string> answer = cache_.find(key)) {
    const auto row = std::ranges::find(rows, std::string_view(*answer), &Implementation::kernel);
    if (row != rows.end()) return *(kept->second = *row);
  }
  if (mode_ != TuningMode::on) return *kept->second;
  try {
    kept->second = measure(request, rows);
    ++measured_;
    cache_.keep(key, kept->second->kernel);
  } catch (const Error& error) {
    if (!warned_) warn_(std::string("tuning: could not measure, the table decides: ") + error.what());
    warned_ = true;
  }
  return *kept->second;
}

// By turns, so that a machine that slows down touches all alike; the least time of each counts.
const Implementation* Tuner::measure(const KernelRequest& request, std::span<const Implementation* const> rows) {
  struct Contestant {
    std::unique_ptr<Kernel> kernel;
    BufferSpan scratch;
    double seconds = std::numeric_limits<double>::infinity();
  };
  PackCache packs(device_.traits().threads);  // what loses packs nothing that stays
  Operands operands(device_, request);
  std::vector<Contestant> contestants(rows.size());
  double best = std::numeric_limits<double>::infinity(), spent = 0;
  for (int round = -1; round < kRounds && spent < kEnough; ++round) {  // the first one warms up
    for (std::size_t i = 0; i < rows.size(); ++i) {
      Contestant& one = contestants[i];
      if (!one.kernel) {
        one.kernel = rows[i]->compile(request, packs);
        one.scratch = operands.allocate(device_, one.kernel->scratch_bytes());
      }
      if (round > 0 && one.seconds > kHopeless * best) continue;
      const double seconds = operands.seconds(*one.kernel, one.scratch);
      if (round < 0) continue;
      spent += seconds;
      one.seconds = std::min(one.seconds, seconds);
      best = std::min(best, seconds);
    }
  }
  const auto fastest = std::ranges::min_element(contestants, {}, &Contestant::seconds);
  const bool worthwhile = fastest->seconds < kWorthwhile * contestants[0].seconds;
  return rows[worthwhile ? static_cast<std::size_t>(fastest - contestants.begin()) : 0];
}

std::shared_ptr<Tuner> tuner_from_environment(Device& device) {
  const char* const wanted = secure_getenv("MLACCEL_TUNING");
  const std::string mode = wanted == nullptr ? "" : wanted;
  if (mode.empty() || mode == "off") return nullptr;
  if (mode != "on" && mode != "read-only") {
    throw Error(Code::invalid_argument, "MLACCEL_TUNING is '" + mode + "'", {}, "set it to off, on or read-only");
  }
  const auto value = [](const char* name) {
    const char* const text = secure_getenv(name);
    return std::string(text == nullptr ? "" : text);
  };
  std::filesystem::path folder = value("MLACCEL_TUNING_CACHE");
  if (folder.empty()) {
    const std::string cache = value("XDG_CACHE_HOME"), home = value("HOME");
    if (cache.starts_with('/'))  // others are to be ignored (XDG base directory specification)
      folder = std::filesystem::path(cache) / "mlaccel";
    else if (!home.empty())
      folder = std::filesystem::path(home) / ".cache" / "mlaccel";
    else
      throw Error(Code::invalid_argument, "there is no folder for the tuning cache", {},
                  "set MLACCEL_TUNING_CACHE, XDG_CACHE_HOME or HOME");
  }
  return std::make_shared<Tuner>(device, mode == "on" ? TuningMode::on : TuningMode::read_only, std::move(folder),
                                 [](const std::string& what) { std::fprintf(stderr, "mlaccel: %s\n", what.c_str()); });
}

}  // namespace ml::runtime
