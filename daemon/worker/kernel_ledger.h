// What one session holds of the device, told to the kernel: for every piece of memory behind a handle there is a piece
// of device memory of the kernel's, charged to the context of one of the session's queues.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/worker/kernel_queue.h"
#include "engine/runtime/device_ledger.h"

namespace ml::daemon {

// Any thread.
class KernelLedger final : public runtime::DeviceLedger {
 public:
  explicit KernelLedger(KernelDevice& device) : device_(device) {}
  ~KernelLedger() override;
  KernelLedger(const KernelLedger&) = delete;
  KernelLedger& operator=(const KernelLedger&) = delete;

  // A queue that can pay; kept mapped, since what it has paid for goes with it.
  void add_payer(std::shared_ptr<const KernelPages> queue);
  // Whether it is that user who pays, as the kernel names them in a request to free memory.
  bool charged_to(std::uint32_t uid) const;

  bool take(std::uint64_t bytes) override;
  void give_back(std::uint64_t bytes) override;
  std::string refusal() const override;

  // Gives up ranges of device memory, the oldest first, until they are `bytes`, and answers how many they were. The
  // content is in host memory already where a device's memory is the machine's, which every device's is so far; the
  // bytes count as the user's host memory from then on.
  std::uint64_t evict(std::uint64_t bytes);
  // Device memory that is charged, evicted pieces not counted.
  std::uint64_t bytes() const;

 private:
  struct Piece {
    std::uint32_t bo;
    std::uint64_t bytes;
    bool resident;
  };
  using Pieces = std::map<std::uint64_t, Piece>;  // by age
  void destroy(Pieces::iterator piece);

  KernelDevice& device_;
  mutable std::mutex mutex_;  // of all that follows
  std::vector<std::shared_ptr<const KernelPages>> payers_;
  Pieces pieces_;
  std::multimap<std::uint64_t, std::uint64_t> by_size_;  // size -> age
  std::uint64_t last_ = 0;
  std::uint64_t bytes_ = 0;
  std::string refusal_;
};

}  // namespace ml::daemon
