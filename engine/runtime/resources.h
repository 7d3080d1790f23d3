// What all plans of one loaded program share: its constants in device memory and what kernels packed of them.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/backends/backend.h"
#include "engine/backends/pack_cache.h"
#include "engine/passes/passes.h"
#include "engine/runtime/memory_budget.h"
#include "engine/runtime/tuner.h"

namespace ml::runtime {

class ProgramResources {
 public:
  // `memory` is where packed weights are counted; null: nowhere. `tuner` chooses kernels; null: the device's table
  // does.
  explicit ProgramResources(Device& device, std::shared_ptr<MemoryBudget> memory = nullptr,
                            std::shared_ptr<Tuner> tuner = nullptr)
      : device_(device),
        tuner_(std::move(tuner)),
        packs_(device.traits().threads),
        memory_(std::move(memory), MemoryBudget::Purpose::programs) {}
  ProgramResources(const ProgramResources&) = delete;
  ProgramResources& operator=(const ProgramResources&) = delete;

  Device& device() const { return device_; }
  const Implementation& choose(const KernelRequest& request) const {
    return tuner_ ? tuner_->choose(request) : ml::choose(device_, request);
  }
  PackCache& packs() { return packs_; }
  const PackCache& packs() const { return packs_; }
  // The constant in device memory: the bytes where they are on a unified device, if they lie as `use` wants them,
  // otherwise a copy made once. Any thread may call.
  std::shared_ptr<Buffer> constant(const ConstantPtr& constant, ConstantUse use = ConstantUse::aligned);
  // Lets go of constants that neither a plan nor a graph has any more, as those that were made for one combination of
  // shapes. Any thread may call.
  void drop_unused();
  // How many constants are held.
  std::size_t constant_count() const;
  // Counts what was packed by now; throws no_space when the budget has no room. Any thread may call.
  void charge_packs();

 private:
  struct Entry {
    ConstantPtr constant;  // keeps wrapped bytes alive
    std::shared_ptr<Buffer> buffer;
    bool aligned;
  };

  Device& device_;
  std::shared_ptr<Tuner> tuner_;
  PackCache packs_;
  mutable std::mutex mutex_;
  MemoryShare memory_;
  std::unordered_multimap<std::uint64_t, Entry> constants_;  // by hash
};

// Computes single nodes on a reference device: what passes fold with.
passes::Evaluate reference_evaluate();

}  // namespace ml::runtime
