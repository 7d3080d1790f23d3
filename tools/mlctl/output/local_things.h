// What mlctl itself has to show, besides what mld answers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/mlctl/output/value.h"

namespace ml::ctl {

// A line of `device top`: a device, or a client on it.
struct Utilisation {
  std::string kind;  // "device", "client"
  std::string name;
  std::string device;
  std::string owner;    // of a client
  double busy = 0;      // share of the interval
  double training = 0;  // of a device: the same of its job's worker
  std::uint64_t memory_bytes = 0;
  std::uint64_t executions = 0;  // in the interval, of a client
  std::uint64_t interval_ns = 0;
};

struct Why {
  std::uint64_t job = 0;
  std::string why;
};

// A line of `doctor`.
struct Check {
  std::string status;  // "ok", "warn", "fail"
  std::string name;
  std::string detail;
  std::string hint;
};

// A page of `explain`.
struct CodePage {
  std::string code, name, title, text;
};

// A line of `bench`: a measured figure beside its peer of the same run.
struct Figure {
  std::string bench, config;
  double value = 0;
  std::string unit, peer;
  double peer_value = 0, ratio = 0;
};

// An output of `model infer`.
struct TensorView {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  double least = 0, mean = 0, greatest = 0;
  std::string file;  // where it was saved
  List values;       // row-major
};

// A line of `model infer --top`.
struct Prediction {
  std::string output;
  std::int64_t sample = 0, rank = 0, index = 0;
  std::string label;
  double value = 0;
};

}  // namespace ml::ctl
