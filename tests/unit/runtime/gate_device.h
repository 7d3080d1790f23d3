// The reference device, but for large allocations: they wait until the test lets them through. So a test can hold an
// executor in the middle of an ALLOC, or of an EXECUTE whose plan needs that much scratch.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "engine/backends/backend.h"

namespace ml::test {

class Gate {
 public:
  void open() { set(true); }
  void close() { set(false); }
  void pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
    --waiting_;
  }
  bool somebody_waits() {
    const std::lock_guard lock(mutex_);
    return waiting_ > 0;
  }
  // Blocks until somebody stands before the closed gate.
  void wait_for_arrival() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ > 0; });
  }

 private:
  void set(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int waiting_ = 0;
};

class GateDevice final : public Device {
 public:
  static constexpr std::size_t kGated = 1u << 20;  // allocations of at least so many bytes

  explicit GateDevice(std::shared_ptr<Gate> gate) : gate_(std::move(gate)), inner_(create_reference_device()) {}
  std::string_view name() const override { return inner_->name(); }
  const DeviceTraits& traits() const override { return inner_->traits(); }
  std::string fingerprint() const override { return inner_->fingerprint(); }
  std::unique_ptr<Buffer> allocate(std::size_t bytes) override {
    if (bytes >= kGated) gate_->pass();
    return inner_->allocate(bytes);
  }
  std::unique_ptr<Buffer> wrap(void* memory, std::size_t bytes) override { return inner_->wrap(memory, bytes); }
  std::unique_ptr<Stream> create_stream() override { return inner_->create_stream(); }
  std::span<const Implementation> implementations() const override { return inner_->implementations(); }

 private:
  std::shared_ptr<Gate> gate_;
  std::unique_ptr<Device> inner_;
};

}  // namespace ml::test
