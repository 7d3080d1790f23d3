// Device time that fades: what was used one half-life ago counts half. So who has used a lot is not behind for ever,
// and who has been away does not come back with a claim on everything.
#pragma once

#include <cmath>
#include <cstdint>

namespace ml::daemon {

class DecayedUsage {
 public:
  static constexpr double kHalfLifeSeconds = 3600;

  DecayedUsage() = default;
  DecayedUsage(double seconds, std::uint64_t at) : seconds_(seconds), at_(at) {}

  // As of `now`; a clock that was set back changes nothing.
  double at(std::uint64_t now) const {
    if (now <= at_) return seconds_;
    return seconds_ * std::exp2(-static_cast<double>(now - at_) * 1e-9 / kHalfLifeSeconds);
  }
  // `seconds` more, used until `now`.
  void add(double seconds, std::uint64_t now) {
    seconds_ = at(now) + seconds;
    if (now > at_) at_ = now;
  }

 private:
  double seconds_ = 0;
  std::uint64_t at_ = 0;  // ns
};

}  // namespace ml::daemon
