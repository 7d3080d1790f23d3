// Whoever else counts a session's device memory, and may refuse more of it: the kernel.
#pragma once

#include <cstdint>
#include <string>

namespace ml::runtime {

// Called by the ring thread; destroyed by any.
class DeviceLedger {
 public:
  virtual ~DeviceLedger() = default;
  virtual bool take(std::uint64_t bytes) = 0;       // false: no more; refusal() says why
  virtual void give_back(std::uint64_t bytes) = 0;  // what one take() took
  virtual std::string refusal() const = 0;          // of the last take() that failed
};

}  // namespace ml::runtime
