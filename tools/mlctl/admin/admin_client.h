// mld's admin API as functions. Errors are Failure with mld's text, hint and stable code.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "daemon/admin/admin.pb.h"

namespace ml::ctl {

namespace admin = mlaccel::admin::v1;

// Where mld's admin socket may be, the likeliest first: what was named with --socket or $MLACCEL_ADMIN alone, else the
// user's own mld and the machine's.
std::vector<std::string> admin_sockets(const std::string& named);

class AdminClient {
 public:
  // Connects to the first socket that something listens on. Throws Failure: not_running, denied or timeout.
  AdminClient(const std::string& named_socket, std::chrono::nanoseconds timeout);
  ~AdminClient();
  AdminClient(const AdminClient&) = delete;
  AdminClient& operator=(const AdminClient&) = delete;

  const std::string& socket() const;

  admin::StatusReply status();
  admin::ListDevicesReply devices(const std::string& name = {});
  admin::Device drain(const std::string& device, bool undo);
  admin::ListModelsReply models(const std::string& reference = {});
  admin::ModelVersion load(const std::string& reference, const std::string& device);
  admin::ModelVersion unload(const std::string& reference, const std::string& device);
  admin::ModelVersion promote(const std::string& reference, const std::string& alias);
  admin::ModelVersion rollback(const std::string& reference, const std::string& alias);
  admin::Job submit(const admin::SubmitJobRequest& request);
  admin::ListJobsReply jobs(bool all_users, bool ended_too);
  admin::Job job(std::uint64_t id);
  std::string why(std::uint64_t id);
  admin::Job cancel(std::uint64_t id);
  admin::Job pause(std::uint64_t id);
  admin::Job resume(std::uint64_t id);
  admin::ReadJobLogReply log(std::uint64_t id, std::uint64_t offset);
  admin::ListClientsReply clients(bool all_users);
  void kick(std::uint64_t session);
  admin::ShowLimitsReply limits();
  admin::ShowLimitsReply limits(std::uint32_t uid);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ml::ctl
