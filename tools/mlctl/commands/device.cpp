#include <unistd.h>

#include <thread>

#include "tools/mlctl/admin/admin_client.h"
#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/commands/each.h"
#include "tools/mlctl/commands/utilisation.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

std::uint64_t monotonic_ns() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

Reading read_usage(AdminClient& client) {
  Reading reading;
  const admin::ListDevicesReply devices = client.devices();
  reading.at = monotonic_ns();
  reading.devices.assign(devices.devices().begin(), devices.devices().end());
  admin::ListClientsReply clients;
  try {
    clients = client.clients(true);
  } catch (const Failure& failure) {
    if (failure.exit != Exit::denied) throw;
    clients = client.clients(false);
  }
  reading.clients.assign(clients.clients().begin(), clients.clients().end());
  return reading;
}

}  // namespace

Exit run_device_list(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  invocation.show(kDeviceKind, rows_of(kDeviceKind, client.devices().devices()));
  return Exit::ok;
}

Exit run_device_show(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  const std::string name = invocation.text("DEVICE");
  const admin::ListDevicesReply reply = client.devices(name);
  if (reply.devices().empty())
    throw Failure(Exit::unknown_object, "there is no device '" + name + "'", "`mlctl device ls` lists them",
                  "MLE-0201");
  invocation.show(kDeviceKind, row_of(kDeviceKind, reply.devices(0)));
  return Exit::ok;
}

Exit run_device_drain(const Invocation& invocation) {
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  std::vector<Row> drained;
  const Exit exit = for_each_name(invocation.texts("DEVICE"), [&](const std::string& name) {
    drained.push_back(row_of(kDeviceKind, client.drain(name, invocation.has("--undo"))));
  });
  invocation.show(kDeviceKind, drained);
  return exit;
}

Exit run_device_top(const Invocation& invocation) {
  const std::chrono::nanoseconds interval = invocation.duration("--interval");
  if (interval < std::chrono::milliseconds(100))
    throw Failure(Exit::usage, "--interval " + invocation.text("--interval") + " is less than 0.1s", {}, "MLE-0001");
  const bool refresh = invocation.style().format == Format::table;
  if (refresh && isatty(STDOUT_FILENO) == 0) {
    throw Failure(Exit::usage, "`mlctl device top` refreshes a terminal, and stdout is none",
                  "use -o json, yaml or wide for one sample", "MLE-0001");
  }
  AdminClient client(invocation.text("--socket"), invocation.timeout());
  Reading before = read_usage(client);
  for (;;) {
    std::this_thread::sleep_for(interval);
    const Reading after = read_usage(client);
    const std::vector<Utilisation> lines = utilisation_between(before, after);
    if (refresh) write_out("\033[H\033[2J");
    invocation.show(kUtilisationKind, rows_of(kUtilisationKind, lines));
    if (!refresh) return Exit::ok;
    before = after;
  }
}

}  // namespace ml::ctl
