// What each uid holds, counted against its limits.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "daemon/config/config.h"
#include "ml/error.h"

namespace ml::daemon {

enum class Resource { sessions, queues, arenas, arena_bytes, device_bytes, jobs, models, model_bytes };
inline constexpr std::size_t kResources = 8;
std::string_view resource_name(Resource resource);

class Limits {
 public:
  explicit Limits(const Config& config) : config_(&config) {}
  void reload(const Config& config) { config_ = &config; }

  // Counts `amount` more. Throws no_space with the resource, the uid, what it holds, what it wanted and its limit, its
  // context "limits.KEY"; then nothing is counted.
  void take(std::uint32_t uid, Resource resource, std::uint64_t amount = 1);
  // Counts what is there already, whatever the limit.
  void count(std::uint32_t uid, Resource resource, std::uint64_t amount = 1);
  void give(std::uint32_t uid, Resource resource, std::uint64_t amount = 1);
  std::uint64_t used(std::uint32_t uid, Resource resource) const;
  std::uint64_t limit(std::uint32_t uid, Resource resource) const;
  const LimitValues& values(std::uint32_t uid) const { return config_->limits_of(uid); }
  // A token of this second for a new session. Throws again when there is none left.
  void admit_session(std::uint32_t uid, std::uint64_t now_ns);
  std::vector<std::uint32_t> uids() const;  // that hold anything

 private:
  struct Usage {
    std::array<std::uint64_t, kResources> held{};
    double tokens = 0;
    std::uint64_t refilled_at = 0;
  };
  const Config* config_;
  std::map<std::uint32_t, Usage> usage_;
};

}  // namespace ml::daemon
