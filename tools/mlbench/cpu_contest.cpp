#include "tools/mlbench/cpu_contest.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "ml/error.h"
#include "tools/mlbench/bench.h"
#include "tools/mlbench/installed.h"
#include "tools/mlbench/tensor_file.h"

namespace ml::bench {
namespace {

constexpr int kNotThere = 3;  // a peer's exit code

float element(const NamedArray& array, std::size_t i) {
  float value;
  std::memcpy(&value, &array.bytes[i * sizeof(float)], sizeof(float));
  return value;
}

double difference(const NamedArray& a, const NamedArray& b, const std::string& file) {
  if (a.name != b.name || a.shape != b.shape || a.dtype != b.dtype || a.dtype != DType::f32)
    throw Error(Code::corrupt, a.name + a.shape.str() + " and " + b.name + b.shape.str() + " are compared", file);
  double apart = 0, largest = 0;
  for (std::size_t i = 0; i < a.bytes.size() / sizeof(float); ++i) {
    const double x = element(a, i), y = element(b, i);
    if (!std::isfinite(x) || !std::isfinite(y)) return std::numeric_limits<double>::infinity();
    apart = std::max(apart, std::abs(x - y));
    largest = std::max(largest, std::abs(y));
  }
  return largest > 0 ? apart / largest : std::numeric_limits<double>::infinity();
}

}  // namespace

std::vector<Entrant> entrants(std::span<const std::string> peers, const std::string& python) {
  std::vector<Entrant> all{{"mlaccel", {installed_file({"mlbench-embedded", "../libexec/mlaccel/mlbench-embedded"})}}};
  for (const std::string& peer : peers)
    all.push_back({peer, {python, installed_file({"../share/mlaccel/onnx_peer.py"}), peer}});
  return all;
}

std::optional<Contender> Contender::start(const Entrant& entrant, const std::string& model, const std::string& inputs,
                                          int threads, std::span<const int> cpus) {
  std::vector<std::string> command = entrant.command;
  command.insert(command.end(), {model, inputs, std::to_string(threads)});
  Contender contender;
  const std::vector<int> before = allowed_cpus();
  pin(cpus);
  contender.process_ = std::make_unique<PeerProcess>(command);
  pin(before);
  const std::string line = contender.process_->read_line().value_or("");
  contender.seconds_to_output_ = static_cast<double>(now_ns() - contender.process_->started()) / 1e9;
  std::istringstream words(line);
  std::string ready;
  words >> ready >> contender.seconds_to_load_ >> std::ws;
  std::getline(words, contender.name_);
  if (ready == "ready") {
    contender.process_->settle();
    return contender;
  }
  if (contender.process_->exit_status() == kNotThere) return std::nullopt;
  throw Error(Code::io, entrant.kind + " fails on " + model);
}

std::vector<double> Contender::time(std::uint64_t count, double seconds) {
  std::istringstream answer(
      process_->ask("time " + std::to_string(count) + " " + std::to_string(static_cast<std::uint64_t>(seconds * 1e9))));
  std::vector<double> times;
  for (double nanoseconds; answer >> nanoseconds;) times.push_back(nanoseconds / 1e6);
  process_->settle();
  return times;
}

double difference(const std::string& file, const std::string& other) {
  const std::vector<NamedArray> a = read_tensors(file), b = read_tensors(other);
  if (a.size() != b.size()) throw Error(Code::corrupt, "another number of outputs", file);
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, difference(a[i], b[i], file));
  return most;
}

}  // namespace ml::bench
