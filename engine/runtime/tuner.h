// Choosing by measurement: where several implementations take a product or a convolution, each runs a few times on
// operands of these shapes, and the fastest is taken from then on.
//
// Implementations round differently, so a choice never changes within a process: the first answer for a key stays, be
// it measured or read. Kernels' names are in a plan's fingerprint; equal fingerprints still mean equal bits.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "engine/backends/backend.h"
#include "engine/runtime/tuning_cache.h"

namespace ml::runtime {

class Tuner {
 public:
  // `device` must outlive it.
  Tuner(Device& device, TuningMode mode, std::filesystem::path folder, TuningCache::Warn warn);

  // As ml::choose() on the device, and with its errors. Any thread may call; one measures at a time.
  const Implementation& choose(const KernelRequest& request);
  // How many choices were measured, not read.
  std::size_t measured() const;

 private:
  std::string key_of(const KernelRequest& request, std::span<const Implementation* const> rows) const;
  const Implementation* measure(const KernelRequest& request, std::span<const Implementation* const> rows);

  Device& device_;
  const TuningMode mode_;
  TuningCache cache_;
  const TuningCache::Warn warn_;
  const std::string machine_;  // what every key begins with
  mutable std::mutex mutex_;
  std::map<std::string, const Implementation*, std::less<>> chosen_;
  std::size_t measured_ = 0;
  bool warned_ = false;
};

// What the process's environment asks for: MLACCEL_TUNING is "off" (or not set), "on" or "read-only", and
// MLACCEL_TUNING_CACHE a folder, otherwise $XDG_CACHE_HOME/mlaccel or ~/.cache/mlaccel. Null for off, and in a process
// with more rights than who started it. Warnings go to stderr. Throws invalid_argument for any other mode.
std::shared_ptr<Tuner> tuner_from_environment(Device& device);

}  // namespace ml::runtime
