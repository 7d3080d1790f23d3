// Devices, and the sessions on them.
#include <algorithm>
#include <utility>

#include "daemon/admin/operations.h"
#include "daemon/process/users.h"
#include "daemon/store/store.h"

namespace ml::daemon {

namespace {

const char* state_of(const Device& device, bool idle) {
  if (!device.serving) return "failed";
  if (device.draining) return idle ? "drained" : "draining";
  return device.serving->ready() ? "ready" : "starting";
}

std::uint64_t memory_used(const WorkerStatistics& statistics) {
  std::uint64_t bytes = statistics.worker.scratch_bytes + statistics.worker.model_bytes;
  for (const worker_protocol::SessionEntry& session : statistics.sessions) bytes += session.device_bytes;
  return bytes;
}

}  // namespace

Device& Operations::device(const std::string& name) {
  if (Device* found = parts_.devices.find(name)) return *found;
  std::string names;
  for (const Device& device : parts_.devices.all()) names += (names.empty() ? "" : ", ") + device.config.name;
  throw NamedError(codes::kNoDevice,
                   Error(Code::not_found, "there is no device '" + name + "'", {}, "there are " + names));
}

std::vector<WorkerProcess*> Operations::workers() const {
  std::vector<WorkerProcess*> workers;
  for (const Device& device : parts_.devices.all())
    if (device.serving) workers.push_back(device.serving.get());
  for (const RunningJob& job : parts_.jobs.running()) workers.push_back(job.worker);
  return workers;
}

void Operations::fill_device(const Device& device, const Peer& who, const Statistics& statistics,
                             api::Device& out) const {
  const std::string& name = device.config.name;
  out.set_name(name);
  out.set_backend(device.config.backend);
  for (const int cpu : device.config.cpus) out.add_cpus(cpu);
  out.set_memory_bytes(device.config.memory_bytes);
  out.set_generation(device.generation);
  out.set_restarts(device.restarts);
  out.set_last_death(presentable(device.last_death));
  if (device.node) {
    out.set_kernel_node(device.node->path());
    out.set_kernel_memory_bytes(device.node->attribute("memory_bytes"));
    out.set_kernel_memory_used_bytes(device.node->attribute("memory_used"));
    out.set_kernel_clients(device.node->attribute("clients"));
    out.set_kernel_queues(device.node->attribute("queues"));
  }
  for (const SessionInfo& session : parts_.sessions.list())
    if (session.device == name) out.set_sessions(out.sessions() + 1);
  std::uint64_t used = 0;
  if (device.serving) {
    out.set_worker_pid(device.serving->pid());
    out.set_fingerprint(presentable(device.serving->fingerprint()));
    if (const auto found = statistics.find(device.serving.get()); found != statistics.end()) {
      out.set_busy_ns(found->second.worker.busy_ns);
      used += memory_used(found->second);
    } else {
      out.set_no_statistics(true);
    }
  }
  for (const RunningJob& job : parts_.jobs.running()) {
    if (std::find(job.devices.begin(), job.devices.end(), name) == job.devices.end()) continue;
    out.set_job(job.id);
    if (const auto found = statistics.find(job.worker); found != statistics.end()) {
      const worker_protocol::SessionStatistics& worker = found->second.worker;
      out.set_job_busy_ns(worker.busy_ns);
      out.set_switches(worker.switches);
      out.set_switch_ns_total(worker.switch_ns_total);
      out.set_switch_ns_longest(worker.switch_ns_longest);
      out.set_longest_kernel_ns(worker.longest_kernel_ns);
      used += memory_used(found->second);
    } else {
      out.set_no_statistics(true);
    }
  }
  out.set_memory_used_bytes(used);
  for (const ModelVersion* model : parts_.registry.list(who)) {
    if (std::find(model->loaded_on.begin(), model->loaded_on.end(), name) == model->loaded_on.end()) continue;
    const std::string owner = model->owner == who.uid ? "" : user_name(model->owner) + "/";
    out.add_models(owner + model->name + ":" + std::to_string(model->version));
  }
  out.set_state(state_of(device, out.sessions() == 0 && out.job() == 0));
}

void Operations::list_devices(const Peer& who, const api::ListDevicesRequest& request, api::ListDevicesReply& reply,
                              Done done) {
  if (!request.name().empty()) device(request.name());
  gather_statistics(parts_.loop, workers(),
                    [this, who, name = request.name(), &reply, done = std::move(done)](const Statistics& statistics) {
                      for (const Device& device : parts_.devices.all())
                        if (name.empty() || name == device.config.name)
                          fill_device(device, who, statistics, *reply.add_devices());
                      done(nullptr);
                    });
}

void Operations::drain_device(const Peer& who, const api::DrainDeviceRequest& request, api::DrainDeviceReply& reply,
                              Done done) {
  Device& drained = device(request.name());
  require_admin(who, "draining a device");
  const bool drain = !request.undo();
  parts_.store.set_drained(request.name(), drain);
  parts_.devices.drain(request.name(), drain);
  parts_.jobs.device_changed();
  gather_statistics(parts_.loop, workers(),
                    [this, who, &drained, &reply, done = std::move(done)](const Statistics& statistics) {
                      fill_device(drained, who, statistics, *reply.mutable_device());
                      done(nullptr);
                    });
}

void Operations::list_clients(const Peer& who, const api::ListClientsRequest& request, api::ListClientsReply& reply,
                              Done done) {
  if (request.all_users()) require_admin(who, "the list of everybody's clients");
  gather_statistics(
      parts_.loop, workers(),
      [this, who, all = request.all_users(), &reply, done = std::move(done)](const Statistics& statistics) {
        std::map<std::uint64_t, const worker_protocol::SessionEntry*> entries;
        for (const auto& [worker, gathered] : statistics)
          for (const worker_protocol::SessionEntry& entry : gathered.sessions) entries[entry.session] = &entry;
        for (const SessionInfo& session : parts_.sessions.list()) {
          if (!all && session.peer.uid != who.uid) continue;
          api::Client& client = *reply.add_clients();
          client.set_session(session.id);
          client.set_uid(session.peer.uid);
          client.set_owner(user_name(session.peer.uid));
          client.set_pid(session.peer.pid);
          client.set_program(presentable(session.client));
          client.set_device(session.device);
          client.set_purpose(session.purpose);
          client.set_queues(session.queues);
          client.set_arenas(session.arenas);
          client.set_arena_bytes(session.arena_bytes);
          client.set_connected_at_ns(session.connected_at);
          client.set_kernel_client(session.kernel_client);
          if (const auto found = entries.find(session.id); found != entries.end()) {
            client.set_device_bytes(found->second->device_bytes);
            client.set_busy_ns(found->second->busy_ns);
            client.set_executions(found->second->executions);
            client.set_failures(found->second->failures);
            client.set_kernel_device_bytes(found->second->kernel_bytes);
          } else {
            client.set_no_statistics(true);
          }
        }
        done(nullptr);
      });
}

void Operations::kick_client(const Peer& who, const api::KickClientRequest& request, api::KickClientReply&) {
  naming(codes::kNoSession, Code::not_found, [&] { parts_.sessions.kick(request.session(), who); });
}

}  // namespace ml::daemon
