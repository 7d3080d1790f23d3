#include "daemon/admin/service.h"

#include <string>
#include <utility>

#include "daemon/admin/admin.grpc.pb.h"

namespace ml::daemon {

namespace {

using Context = grpc::CallbackServerContext;
using Reactor = grpc::ServerUnaryReactor;

class CallerService final : public api::Admin::CallbackService {
 public:
  // Without operations every call is refused.
  CallerService(const Peer& caller, Calls& calls, Operations* operations)
      : caller_(caller), calls_(calls), operations_(operations) {}

  Reactor* Status(Context* context, const api::StatusRequest* request, api::StatusReply* reply) override {
    return pass(context, request, reply, &Operations::status);
  }
  Reactor* ListDevices(Context* context, const api::ListDevicesRequest* request,
                       api::ListDevicesReply* reply) override {
    return pass(context, request, reply, &Operations::list_devices);
  }
  Reactor* DrainDevice(Context* context, const api::DrainDeviceRequest* request,
                       api::DrainDeviceReply* reply) override {
    return pass(context, request, reply, &Operations::drain_device);
  }
  Reactor* ListModels(Context* context, const api::ListModelsRequest* request, api::ListModelsReply* reply) override {
    return pass(context, request, reply, &Operations::list_models);
  }
  Reactor* LoadModel(Context* context, const api::ModelRequest* request, api::ModelReply* reply) override {
    return pass(context, request, reply, &Operations::load_model);
  }
  Reactor* UnloadModel(Context* context, const api::ModelRequest* request, api::ModelReply* reply) override {
    return pass(context, request, reply, &Operations::unload_model);
  }
  Reactor* PromoteModel(Context* context, const api::AliasRequest* request, api::ModelReply* reply) override {
    return pass(context, request, reply, &Operations::promote_model);
  }
  Reactor* RollbackModel(Context* context, const api::AliasRequest* request, api::ModelReply* reply) override {
    return pass(context, request, reply, &Operations::rollback_model);
  }
  Reactor* SubmitJob(Context* context, const api::SubmitJobRequest* request, api::Job* reply) override {
    return pass(context, request, reply, &Operations::submit_job);
  }
  Reactor* ListJobs(Context* context, const api::ListJobsRequest* request, api::ListJobsReply* reply) override {
    return pass(context, request, reply, &Operations::list_jobs);
  }
  Reactor* ShowJob(Context* context, const api::JobRequest* request, api::Job* reply) override {
    return pass(context, request, reply, &Operations::show_job);
  }
  Reactor* WhyJob(Context* context, const api::JobRequest* request, api::WhyJobReply* reply) override {
    return pass(context, request, reply, &Operations::why_job);
  }
  Reactor* CancelJob(Context* context, const api::JobRequest* request, api::Job* reply) override {
    return pass(context, request, reply, &Operations::cancel_job);
  }
  Reactor* PauseJob(Context* context, const api::JobRequest* request, api::Job* reply) override {
    return pass(context, request, reply, &Operations::pause_job);
  }
  Reactor* ResumeJob(Context* context, const api::JobRequest* request, api::Job* reply) override {
    return pass(context, request, reply, &Operations::resume_job);
  }
  Reactor* ReadJobLog(Context* context, const api::ReadJobLogRequest* request, api::ReadJobLogReply* reply) override {
    return pass(context, request, reply, &Operations::read_job_log);
  }
  Reactor* ListClients(Context* context, const api::ListClientsRequest* request,
                       api::ListClientsReply* reply) override {
    return pass(context, request, reply, &Operations::list_clients);
  }
  Reactor* KickClient(Context* context, const api::KickClientRequest* request, api::KickClientReply* reply) override {
    return pass(context, request, reply, &Operations::kick_client);
  }
  Reactor* ShowLimits(Context* context, const api::ShowLimitsRequest* request, api::ShowLimitsReply* reply) override {
    return pass(context, request, reply, &Operations::show_limits);
  }

 private:
  template <class Request, class Reply>
  using Answering = void (Operations::*)(const Peer&, const Request&, Reply&);
  template <class Request, class Reply>
  using Waiting = void (Operations::*)(const Peer&, const Request&, Reply&, Operations::Done);

  template <class Request, class Reply>
  Reactor* pass(Context* context, const Request* request, Reply* reply, Answering<Request, Reply> method) {
    return calls_.begin<Request, Reply>(context, request, reply,
                                        [caller = caller_, operations = operations_, method](const auto& call) {
                                          if (!operations) return call->fail(crowded(caller));
                                          (operations->*method)(caller, call->request, call->reply);
                                          call->succeed();
                                        });
  }
  template <class Request, class Reply>
  Reactor* pass(Context* context, const Request* request, Reply* reply, Waiting<Request, Reply> method) {
    return calls_.begin<Request, Reply>(
        context, request, reply, [caller = caller_, operations = operations_, method](const auto& call) {
          if (!operations) return call->fail(crowded(caller));
          (operations->*method)(caller, call->request, call->reply, [call](const Failure* failure) {
            if (failure) return call->fail(*failure);
            call->succeed();
          });
        });
  }

  static Failure crowded(const Peer& caller) {
    return {
        codes::kAdminConnections,
        Error(Code::no_space, "user " + std::to_string(caller.uid) + " has too many connections to mld's admin socket",
              "admin.sock", "wait until some of your commands have ended")};
  }

  const Peer caller_;
  Calls& calls_;
  Operations* const operations_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_service(const Peer& caller, Calls& calls, Operations* operations) {
  return std::make_unique<CallerService>(caller, calls, operations);
}

}  // namespace ml::daemon
