// What the calls of admin.proto do, on the loop's thread. Knows messages and mld's parts, and nothing of gRPC.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "daemon/admin/admin.pb.h"
#include "daemon/admin/admin_server.h"
#include "daemon/admin/failure.h"
#include "daemon/jobs/jobs.h"
#include "daemon/registry/registry.h"
#include "daemon/sessions/sessions.h"
#include "daemon/workers/statistics.h"

namespace ml::daemon {

namespace api = mlaccel::admin::v1;

class Operations {
 public:
  // Null: the reply is filled in. Until it is called, or let go of, the reply stays where it is.
  using Done = std::function<void(const Failure* failure)>;

  Operations(AdminParts parts, DaemonFacts facts) : parts_(parts), facts_(std::move(facts)) {}

  // These answer when they return, and throw what went wrong.
  void status(const Peer& who, const api::StatusRequest& request, api::StatusReply& reply);
  void list_models(const Peer& who, const api::ListModelsRequest& request, api::ListModelsReply& reply);
  void promote_model(const Peer& who, const api::AliasRequest& request, api::ModelReply& reply);
  void rollback_model(const Peer& who, const api::AliasRequest& request, api::ModelReply& reply);
  void submit_job(const Peer& who, const api::SubmitJobRequest& request, api::Job& reply);
  void list_jobs(const Peer& who, const api::ListJobsRequest& request, api::ListJobsReply& reply);
  void show_job(const Peer& who, const api::JobRequest& request, api::Job& reply);
  void why_job(const Peer& who, const api::JobRequest& request, api::WhyJobReply& reply);
  void cancel_job(const Peer& who, const api::JobRequest& request, api::Job& reply);
  void pause_job(const Peer& who, const api::JobRequest& request, api::Job& reply);
  void resume_job(const Peer& who, const api::JobRequest& request, api::Job& reply);
  void read_job_log(const Peer& who, const api::ReadJobLogRequest& request, api::ReadJobLogReply& reply);
  void kick_client(const Peer& who, const api::KickClientRequest& request, api::KickClientReply& reply);
  void show_limits(const Peer& who, const api::ShowLimitsRequest& request, api::ShowLimitsReply& reply);

  // These wait for workers; what can be refused at once they throw.
  void list_devices(const Peer& who, const api::ListDevicesRequest& request, api::ListDevicesReply& reply, Done done);
  void drain_device(const Peer& who, const api::DrainDeviceRequest& request, api::DrainDeviceReply& reply, Done done);
  void load_model(const Peer& who, const api::ModelRequest& request, api::ModelReply& reply, Done done);
  void unload_model(const Peer& who, const api::ModelRequest& request, api::ModelReply& reply, Done done);
  void list_clients(const Peer& who, const api::ListClientsRequest& request, api::ListClientsReply& reply, Done done);

 private:
  Device& device(const std::string& name);  // throws kNoDevice
  std::vector<WorkerProcess*> workers() const;
  void fill_device(const Device& device, const Peer& who, const Statistics& statistics, api::Device& out) const;
  const ModelVersion& model(const std::string& reference, const Peer& who) const;  // throws kNoModel
  void fill_model(const ModelVersion& model, api::ModelVersion& out) const;
  // Does `act` on every device that `request` means and answers when all have, with the first error.
  void on_devices(const api::ModelRequest& request, const ModelVersion& model, api::ModelReply& reply, Done done,
                  const std::function<void(Device& device, Registry::Finished finished)>& act);
  void change_job(const Peer& who, std::uint64_t id, void (Jobs::*change)(std::uint64_t, const Peer&), api::Job& reply);
  JobView job(std::uint64_t id, const Peer& who) const;  // throws kNoJob

  AdminParts parts_;
  DaemonFacts facts_;
};

// Throws kNotYours unless `who` is an administrator; `what` is what was asked for.
void require_admin(const Peer& who, const std::string& what);

}  // namespace ml::daemon
