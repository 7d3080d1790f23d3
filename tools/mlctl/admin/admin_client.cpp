#include "tools/mlctl/admin/admin_client.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <cstring>

#include "daemon/admin/admin.grpc.pb.h"
#include "daemon/admin/codes.h"
#include "tools/mlctl/admin/admin_socket.h"
#include "tools/mlctl/failure.h"

namespace ml::ctl {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

// The message of a status: "CODE\x1fwhat\x1fwhere\x1fhint".
std::vector<std::string> parts_of(std::string_view message) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t end = message.find('\x1f');
    parts.emplace_back(message.substr(0, end));
    if (end == std::string_view::npos) return parts;
    message.remove_prefix(end + 1);
  }
}

Failure failure_of_status(const grpc::Status& status, const std::string& socket, std::chrono::nanoseconds timeout) {
  const std::vector<std::string> parts = parts_of(status.error_message());
  if (parts.size() == 4) {
    const std::string where = parts[2].empty() ? "" : " (" + parts[2] + ")";
    return {exit_of(parts[0]), parts[1] + where, parts[3], parts[0]};
  }
  // Not from mld's own handlers: gRPC says it of the connection.
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {Exit::timeout,
              "mld did not answer within " + std::to_string(timeout.count() / 1'000'000) + " ms (" + socket + ")",
              "look at `mlctl doctor` and mld's log, or allow more with --timeout",
              std::string(daemon::codes::kNoAnswer)};
    case grpc::StatusCode::UNAVAILABLE:
      return {Exit::not_running, "mld closed the connection (" + socket + ")",
              "it may be starting again: try once more", std::string(daemon::codes::kNotRunning)};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {Exit::failure, "what listens at " + socket + " does not know this request",
              "an older mld (`mlctl status` says how old), or another program",
              std::string(daemon::code_of(Code::unsupported))};
    default:
      return {Exit::failure, "mld answered: " + status.error_message() + " (" + socket + ")", "look at mld's log",
              std::string(daemon::code_of(Code::internal))};
  }
}

constexpr const char* kHowToStart =
    "start your own with `mld --user`, or the machine's with `systemctl start mld`; `mlctl doctor` finds what stands "
    "in its way";

}  // namespace

std::vector<std::string> admin_sockets(const std::string& named) {
  if (!named.empty()) return {named};
  if (const char* const chosen = std::getenv("MLACCEL_ADMIN"); chosen != nullptr && *chosen != '\0') return {chosen};
  std::vector<std::string> paths;
  if (const char* const runtime = std::getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime != '\0')
    paths.push_back(std::string(runtime) + "/mlaccel/admin.sock");
  paths.emplace_back("/run/mlaccel/admin.sock");
  return paths;
}

struct AdminClient::State {
  std::string socket;
  std::chrono::nanoseconds timeout;
  std::unique_ptr<admin::Admin::Stub> stub;

  template <class Request, class Reply>
  Reply call(grpc::Status (admin::Admin::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
             const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::system_clock::duration>(timeout));
    Reply reply;
    const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
    if (!status.ok()) throw failure_of_status(status, socket, timeout);
    return reply;
  }
};

AdminClient::AdminClient(const std::string& named_socket, std::chrono::nanoseconds timeout)
    : state_(std::make_unique<State>()) {
  const std::vector<std::string> paths = admin_sockets(named_socket);
  std::vector<std::string> tried;
  for (const std::string& path : paths) {
    Connected connected = connect_to(path, timeout);
    if (connected.error == EACCES || connected.error == EPERM) {
      throw Failure(Exit::denied, "you may not connect to mld's socket " + path,
                    "it is of another user's mld; the machine's is open to all of its users",
                    std::string(daemon::code_of(Code::denied)));
    }
    if (connected.error == EAGAIN) {
      throw Failure(Exit::timeout, "mld takes no connections (" + path + ")", "look at mld's log",
                    std::string(daemon::codes::kNoAnswer));
    }
    if (connected.error != 0) {
      tried.push_back(path + ": " + std::strerror(connected.error));  // NOLINT(concurrency-mt-unsafe)
      continue;
    }
    const int fd = connected.socket.release();
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    state_->socket = path;
    state_->timeout = timeout;
    state_->stub = admin::Admin::NewStub(grpc::CreateCustomInsecureChannelFromFd("mld", fd, arguments));
    return;
  }
  throw Failure(Exit::not_running, "mld is not running (" + joined(tried) + ")", kHowToStart,
                std::string(daemon::codes::kNotRunning));
}

AdminClient::~AdminClient() = default;

const std::string& AdminClient::socket() const { return state_->socket; }

admin::StatusReply AdminClient::status() { return state_->call(&admin::Admin::Stub::Status, admin::StatusRequest()); }

admin::ListDevicesReply AdminClient::devices(const std::string& name) {
  admin::ListDevicesRequest request;
  request.set_name(name);
  return state_->call(&admin::Admin::Stub::ListDevices, request);
}

admin::Device AdminClient::drain(const std::string& device, bool undo) {
  admin::DrainDeviceRequest request;
  request.set_name(device);
  request.set_undo(undo);
  return state_->call(&admin::Admin::Stub::DrainDevice, request).device();
}

admin::ListModelsReply AdminClient::models(const std::string& reference) {
  admin::ListModelsRequest request;
  request.set_reference(reference);
  return state_->call(&admin::Admin::Stub::ListModels, request);
}

namespace {

admin::ModelRequest model_request(const std::string& reference, const std::string& device) {
  admin::ModelRequest request;
  request.set_reference(reference);
  request.set_device(device);
  return request;
}

admin::AliasRequest alias_request(const std::string& reference, const std::string& alias) {
  admin::AliasRequest request;
  request.set_reference(reference);
  request.set_alias(alias);
  return request;
}

admin::JobRequest job_request(std::uint64_t id) {
  admin::JobRequest request;
  request.set_id(id);
  return request;
}

}  // namespace

admin::ModelVersion AdminClient::load(const std::string& reference, const std::string& device) {
  return state_->call(&admin::Admin::Stub::LoadModel, model_request(reference, device)).model();
}
admin::ModelVersion AdminClient::unload(const std::string& reference, const std::string& device) {
  return state_->call(&admin::Admin::Stub::UnloadModel, model_request(reference, device)).model();
}
admin::ModelVersion AdminClient::promote(const std::string& reference, const std::string& alias) {
  return state_->call(&admin::Admin::Stub::PromoteModel, alias_request(reference, alias)).model();
}
admin::ModelVersion AdminClient::rollback(const std::string& reference, const std::string& alias) {
  return state_->call(&admin::Admin::Stub::RollbackModel, alias_request(reference, alias)).model();
}

admin::Job AdminClient::submit(const admin::SubmitJobRequest& request) {
  return state_->call(&admin::Admin::Stub::SubmitJob, request);
}

admin::ListJobsReply AdminClient::jobs(bool all_users, bool ended_too) {
  admin::ListJobsRequest request;
  request.set_all_users(all_users);
  request.set_ended_too(ended_too);
  return state_->call(&admin::Admin::Stub::ListJobs, request);
}

admin::Job AdminClient::job(std::uint64_t id) { return state_->call(&admin::Admin::Stub::ShowJob, job_request(id)); }
std::string AdminClient::why(std::uint64_t id) {
  return state_->call(&admin::Admin::Stub::WhyJob, job_request(id)).why();
}
admin::Job AdminClient::cancel(std::uint64_t id) {
  return state_->call(&admin::Admin::Stub::CancelJob, job_request(id));
}
admin::Job AdminClient::pause(std::uint64_t id) { return state_->call(&admin::Admin::Stub::PauseJob, job_request(id)); }
admin::Job AdminClient::resume(std::uint64_t id) {
  return state_->call(&admin::Admin::Stub::ResumeJob, job_request(id));
}

admin::ReadJobLogReply AdminClient::log(std::uint64_t id, std::uint64_t offset) {
  admin::ReadJobLogRequest request;
  request.set_id(id);
  request.set_offset(offset);
  return state_->call(&admin::Admin::Stub::ReadJobLog, request);
}

admin::ListClientsReply AdminClient::clients(bool all_users) {
  admin::ListClientsRequest request;
  request.set_all_users(all_users);
  return state_->call(&admin::Admin::Stub::ListClients, request);
}

void AdminClient::kick(std::uint64_t session) {
  admin::KickClientRequest request;
  request.set_session(session);
  state_->call(&admin::Admin::Stub::KickClient, request);
}

admin::ShowLimitsReply AdminClient::limits() {
  return state_->call(&admin::Admin::Stub::ShowLimits, admin::ShowLimitsRequest());
}

admin::ShowLimitsReply AdminClient::limits(std::uint32_t uid) {
  admin::ShowLimitsRequest request;
  request.set_uid(uid);
  request.set_of_uid(true);
  return state_->call(&admin::Admin::Stub::ShowLimits, request);
}

}  // namespace ml::ctl
