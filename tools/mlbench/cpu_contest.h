// The contestants of `mlbench cpu`: embedded inference and its peers, each in a process of its own.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/mlbench/peer_process.h"

namespace ml::bench {

// How one is started: program and what stands before MODEL INPUTS THREADS.
struct Entrant {
  std::string kind;  // "mlaccel", "onnxruntime", "openvino"
  std::vector<std::string> command;
};
// Ours first, then those of `peers`, run by `python`.
std::vector<Entrant> entrants(std::span<const std::string> peers, const std::string& python);

// One that has computed its first output.
class Contender {
 public:
  // Waits for the first output. Nothing when the environment lacks the peer; throws io when it fails.
  static std::optional<Contender> start(const Entrant& entrant, const std::string& model, const std::string& inputs,
                                        int threads, std::span<const int> cpus);

  const std::string& name() const { return name_; }                // "ONNX Runtime 1.32.0"
  double seconds_to_output() const { return seconds_to_output_; }  // from the start of the process
  double seconds_to_load() const { return seconds_to_load_; }      // from when its program and libraries were there
  // Latencies in ms of at least one run, of at most so many and as fit in so many seconds; then it is asleep.
  std::vector<double> time(std::uint64_t count, double seconds);
  void write_outputs(const std::string& path) { process_->ask("outputs " + path); }
  PeerProcess& process() { return *process_; }

 private:
  std::unique_ptr<PeerProcess> process_;
  std::string name_;
  double seconds_to_output_ = 0, seconds_to_load_ = 0;
};

// How far apart the outputs in two files are: the largest difference of two elements over the largest element of that
// output, over all outputs. Infinite where a number is missing, not finite or all are zero. Throws corrupt where names
// or shapes differ.
double difference(const std::string& file, const std::string& other);

}  // namespace ml::bench
