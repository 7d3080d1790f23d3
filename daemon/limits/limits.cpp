#include "daemon/limits/limits.h"

#include <algorithm>
#include <cassert>
#include <string>

#include "daemon/config/units.h"

namespace ml::daemon {
namespace {

struct Row {
  std::string_view name;  // the key of mld.toml
  std::uint64_t LimitValues::*limit;
  const char* plural;
  bool bytes;
  const char* hint;
};
constexpr std::array<Row, kResources> kRows = {{
    {"sessions", &LimitValues::sessions, "sessions", false, "end some"},
    {"queues", &LimitValues::queues, "queues", false, "close some"},
    {"arenas", &LimitValues::arenas, "arenas", false, "remove some"},
    {"arena_bytes", &LimitValues::arena_bytes, "of memory shared with devices", true, "free some"},
    {"device_bytes", &LimitValues::device_bytes, "of device memory", true, "free some"},
    {"jobs", &LimitValues::jobs, "jobs that have not ended", false, "wait for some to end"},
    {"models", &LimitValues::models, "model versions", false, "register fewer"},
    {"model_bytes", &LimitValues::model_bytes, "of models on disk", true, "register fewer or smaller ones"},
}};

const Row& row_of(Resource resource) { return kRows[static_cast<std::size_t>(resource)]; }

std::string amount_text(const Row& row, std::uint64_t amount) {
  if (row.bytes) return format_bytes(amount);
  return amount == kUnlimited ? "unlimited" : std::to_string(amount);
}

Error refusal(Code code, std::string what, std::string_view key, const std::string& hint) {
  return Error(code, std::move(what), "limits." + std::string(key),
               hint + ", or ask for a higher " + std::string(key) + " in mld.toml");
}

}  // namespace

std::string_view resource_name(Resource resource) { return row_of(resource).name; }

void Limits::take(std::uint32_t uid, Resource resource, std::uint64_t amount) {
  const Row& row = row_of(resource);
  const std::uint64_t held = used(uid, resource), most = limit(uid, resource);
  if (held > most || amount > most - held)
    throw refusal(Code::no_space,
                  "user " + std::to_string(uid) + " holds " + amount_text(row, held) + " " + row.plural +
                      " and wants " + amount_text(row, amount) + " more, the limit is " + amount_text(row, most),
                  row.name, row.hint);
  count(uid, resource, amount);
}

void Limits::count(std::uint32_t uid, Resource resource, std::uint64_t amount) {
  if (amount > 0) usage_[uid].held[static_cast<std::size_t>(resource)] += amount;
}

void Limits::give(std::uint32_t uid, Resource resource, std::uint64_t amount) {
  if (amount == 0) return;
  const auto found = usage_.find(uid);
  assert(found != usage_.end() && found->second.held[static_cast<std::size_t>(resource)] >= amount);
  found->second.held[static_cast<std::size_t>(resource)] -= amount;
}

std::uint64_t Limits::used(std::uint32_t uid, Resource resource) const {
  const auto found = usage_.find(uid);
  return found != usage_.end() ? found->second.held[static_cast<std::size_t>(resource)] : 0;
}

std::uint64_t Limits::limit(std::uint32_t uid, Resource resource) const { return values(uid).*row_of(resource).limit; }

void Limits::admit_session(std::uint32_t uid, std::uint64_t now_ns) {
  const std::uint64_t rate = values(uid).sessions_a_second;
  if (rate == kUnlimited) return;
  // Users who hold nothing and have all their tokens again are as good as never seen.
  if (usage_.size() > 1024 && !usage_.contains(uid))
    std::erase_if(usage_, [&](const auto& entry) {
      const Usage& usage = entry.second;
      return now_ns - usage.refilled_at > 1'000'000'000 && std::ranges::count(usage.held, 0u) == kResources;
    });
  Usage& usage = usage_[uid];
  const double full = static_cast<double>(rate);
  if (usage.refilled_at == 0)
    usage.tokens = full;
  else
    usage.tokens = std::min(full, usage.tokens + full * 1e-9 * static_cast<double>(now_ns - usage.refilled_at));
  usage.refilled_at = now_ns;
  if (usage.tokens < 1)
    throw refusal(Code::again,
                  "user " + std::to_string(uid) + " opens more than " + std::to_string(rate) + " sessions a second",
                  "sessions_a_second", "keep a session open instead of making one for each request");
  usage.tokens -= 1;
}

std::vector<std::uint32_t> Limits::uids() const {
  std::vector<std::uint32_t> found;
  for (const auto& [uid, usage] : usage_)
    if (std::ranges::count(usage.held, 0u) != kResources) found.push_back(uid);
  return found;
}

}  // namespace ml::daemon
