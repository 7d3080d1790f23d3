#include "tools/mlctl/commands/utilisation.h"

#include <algorithm>

namespace ml::ctl {
namespace {

std::uint64_t grown(std::uint64_t before, std::uint64_t after) { return after >= before ? after - before : after; }

}  // namespace

std::vector<Utilisation> utilisation_between(const Reading& before, const Reading& after) {
  const std::uint64_t interval = std::max<std::uint64_t>(1, grown(before.at, after.at));
  const auto share = [&](std::uint64_t from, std::uint64_t to) {
    return static_cast<double>(grown(from, to)) / static_cast<double>(interval);
  };
  std::vector<Utilisation> lines;
  for (const admin::Device& device : after.devices) {
    const auto earlier = std::find_if(before.devices.begin(), before.devices.end(),
                                      [&](const auto& other) { return other.name() == device.name(); });
    const admin::Device none, &then = earlier == before.devices.end() ? none : *earlier;
    Utilisation line{.kind = "device", .name = device.name(), .device = device.name()};
    line.busy = share(then.busy_ns(), device.busy_ns());
    line.training = share(then.job() == device.job() ? then.job_busy_ns() : 0, device.job_busy_ns());
    line.memory_bytes = device.memory_used_bytes();
    line.interval_ns = interval;
    lines.push_back(std::move(line));
    const auto first_client = static_cast<std::ptrdiff_t>(lines.size());
    for (const admin::Client& client : after.clients) {
      if (client.device() != device.name()) continue;
      const auto same = std::find_if(before.clients.begin(), before.clients.end(),
                                     [&](const auto& other) { return other.session() == client.session(); });
      // A session that is new has done all it did since then.
      const admin::Client fresh, &past = same == before.clients.end() ? fresh : *same;
      Utilisation of_client{.kind = "client",
                            .name = client.program() + " (session " + std::to_string(client.session()) + ")",
                            .device = device.name(),
                            .owner = client.owner()};
      of_client.busy = share(past.busy_ns(), client.busy_ns());
      of_client.memory_bytes = client.device_bytes();
      of_client.executions = grown(past.executions(), client.executions());
      of_client.interval_ns = interval;
      lines.push_back(std::move(of_client));
    }
    std::stable_sort(lines.begin() + first_client, lines.end(),
                     [](const Utilisation& a, const Utilisation& b) { return a.busy > b.busy; });
  }
  return lines;
}

}  // namespace ml::ctl
