// Every call of admin.proto that changes something, or shows somebody's things, by its owner, by somebody else and by
// an administrator: real users on a real mld, without mlctl.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "daemon/admin/admin.grpc.pb.h"
#include "tests/system/support/daemon.h"
#include "tests/system/support/held.h"
#include "tests/system/support/models.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

namespace api = mlaccel::admin::v1;

constexpr uid_t kAnna = 12001, kBert = 12002, kAdministrator = 12003;
constexpr gid_t kGames = 60;  // of base-passwd on every Debian; kSystemToml makes it the admin group
const User anna{kAnna, kAnna, {}}, bert{kBert, kBert, {}}, administrator{kAdministrator, kAdministrator, {kGames}},
    root{0, 0, {}};

using Stub = api::Admin::Stub;
using Act = std::function<grpc::Status(Stub&, grpc::ClientContext&)>;

// "OK" or the stable code; gRPC's own words where there is none. gRPC does not survive a fork, so only children use it.
std::string call_as(const Daemon& daemon, const User& user, const Act& act) {
  return Forked(user,
                [&]() -> std::string {
                  const auto stub = api::Admin::NewStub(
                      grpc::CreateChannel("unix:" + daemon.admin_socket(), grpc::InsecureChannelCredentials()));
                  grpc::ClientContext context;
                  context.set_deadline(std::chrono::system_clock::now() + kPatience);
                  const grpc::Status status = act(*stub, context);
                  if (status.ok()) return "OK";
                  return status.error_message().substr(0, status.error_message().find('\x1f'));
                })
      .answer();
}

// What `read` finds in the reply of a call that has to succeed.
template <class Reply>
std::string shown(const Daemon& daemon, const User& user,
                  const std::function<grpc::Status(Stub&, grpc::ClientContext&, Reply&)>& act,
                  const std::function<std::string(const Reply&)>& read) {
  return Forked(user,
                [&]() -> std::string {
                  const auto stub = api::Admin::NewStub(
                      grpc::CreateChannel("unix:" + daemon.admin_socket(), grpc::InsecureChannelCredentials()));
                  grpc::ClientContext context;
                  context.set_deadline(std::chrono::system_clock::now() + kPatience);
                  Reply reply;
                  const grpc::Status status = act(*stub, context, reply);
                  return status.ok() ? read(reply) : status.error_message();
                })
      .answer();
}

// Calls one method with a request that `fill` fills in.
template <class Request, class Reply>
Act act(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
        const std::function<void(Request&)>& fill) {
  return [method, fill](Stub& stub, grpc::ClientContext& context) {
    Request request;
    Reply reply;
    fill(request);
    return (stub.*method)(&context, request, &reply);
  };
}

Act on_model(grpc::Status (Stub::*method)(grpc::ClientContext*, const api::ModelRequest&, api::ModelReply*),
             const std::string& reference) {
  return act<api::ModelRequest, api::ModelReply>(method, [=](auto& request) { request.set_reference(reference); });
}
Act on_alias(grpc::Status (Stub::*method)(grpc::ClientContext*, const api::AliasRequest&, api::ModelReply*),
             const std::string& reference, const std::string& alias) {
  return act<api::AliasRequest, api::ModelReply>(method, [=](auto& request) {
    request.set_reference(reference);
    request.set_alias(alias);
  });
}
template <class Reply>
Act on_job(grpc::Status (Stub::*method)(grpc::ClientContext*, const api::JobRequest&, Reply*), std::uint64_t id) {
  return act<api::JobRequest, Reply>(method, [=](auto& request) { request.set_id(id); });
}
Act submit(std::int32_t priority) {
  return act<api::SubmitJobRequest, api::Job>(&Stub::SubmitJob, [=](auto& request) {
    request.set_name("a-job");
    request.set_specification("seed = 1\n");
    request.set_directory("/");
    request.set_devices(1);
    request.set_memory_bytes(1 << 20);
    request.set_priority(priority);
  });
}
Act drain(bool undo) {
  return act<api::DrainDeviceRequest, api::DrainDeviceReply>(&Stub::DrainDevice, [=](auto& request) {
    request.set_name("cpu0");
    request.set_undo(undo);
  });
}
Act kick(std::uint64_t session) {
  return act<api::KickClientRequest, api::KickClientReply>(&Stub::KickClient,
                                                           [=](auto& request) { request.set_session(session); });
}

class AdminRights : public testing::Test {
 protected:
  std::string call(const User& user, const Act& what) { return call_as(daemon, user, what); }
  std::string prod() {
    return shown<api::ListModelsReply>(
        daemon, anna,
        [](Stub& stub, grpc::ClientContext& context, api::ListModelsReply& reply) {
          api::ListModelsRequest request;
          request.set_reference("public@prod");
          return stub.ListModels(&context, request, &reply);
        },
        [](const api::ListModelsReply& reply) { return std::to_string(reply.models(0).version()); });
  }
  std::string job_state(std::uint64_t id) {
    return shown<api::Job>(
        daemon, anna,
        [id](Stub& stub, grpc::ClientContext& context, api::Job& reply) {
          api::JobRequest request;
          request.set_id(id);
          return stub.ShowJob(&context, request, &reply);
        },
        [](const api::Job& job) { return job.state(); });
  }

  Daemon daemon{{.toml = std::string(kSystemToml), .system = true}};
};

class ModelRights : public AdminRights {
 protected:
  ModelRights() {
    run_as(kAnna, kAnna, [this]() -> std::string {
      RawSession session(daemon.socket());
      register_model(session, "secret");
      register_model(session, "secret");
      register_model(session, "public", true);
      register_model(session, "public", true);
      return "";
    });
  }
};

TEST_F(ModelRights, WhoMovesAliases) {
  const std::string hers = "12001/public:1", secret = "12001/secret:1";
  EXPECT_EQ(call(anna, on_alias(&Stub::PromoteModel, "public:2", "prod")), "OK");
  EXPECT_EQ(call(bert, on_alias(&Stub::PromoteModel, hers, "prod")), "MLE-0205");
  EXPECT_EQ(call(bert, on_alias(&Stub::PromoteModel, secret, "prod")), "MLE-0202");
  EXPECT_EQ(call(bert, on_alias(&Stub::PromoteModel, "12001/nothing:1", "prod")), "MLE-0202");
  EXPECT_EQ(prod(), "2");
  EXPECT_EQ(call(administrator, on_alias(&Stub::PromoteModel, hers, "prod")), "OK");
  EXPECT_EQ(prod(), "1");

  EXPECT_EQ(call(bert, on_alias(&Stub::RollbackModel, "12001/public", "prod")), "MLE-0205");
  EXPECT_EQ(call(bert, on_alias(&Stub::RollbackModel, "12001/secret", "prod")), "MLE-0202");
  EXPECT_EQ(prod(), "1");
  EXPECT_EQ(call(anna, on_alias(&Stub::RollbackModel, "public", "prod")), "OK");
  EXPECT_EQ(prod(), "2");
  EXPECT_EQ(call(anna, on_alias(&Stub::RollbackModel, "public", "prod")), "MLE-0212");
  EXPECT_EQ(call(root, on_alias(&Stub::PromoteModel, secret, "prod")), "OK");
}

TEST_F(ModelRights, WhoLoadsAndUnloads) {
  EXPECT_EQ(call(bert, on_model(&Stub::LoadModel, "12001/public")), "OK");
  EXPECT_EQ(call(bert, on_model(&Stub::LoadModel, "12001/secret")), "MLE-0202");
  EXPECT_EQ(call(bert, on_model(&Stub::UnloadModel, "12001/public")), "MLE-0205");
  EXPECT_EQ(call(bert, on_model(&Stub::UnloadModel, "12001/secret")), "MLE-0202");
  EXPECT_EQ(call(anna, on_model(&Stub::UnloadModel, "public")), "OK");
  EXPECT_EQ(call(administrator, on_model(&Stub::UnloadModel, "12001/secret")), "OK");
  EXPECT_EQ(call(administrator, on_model(&Stub::LoadModel, "12001/secret")), "OK");
}

TEST_F(ModelRights, WhoSeesThem) {
  const auto models = [&](const User& user) {
    return shown<api::ListModelsReply>(
        daemon, user,
        [](Stub& stub, grpc::ClientContext& context, api::ListModelsReply& reply) {
          return stub.ListModels(&context, {}, &reply);
        },
        [](const api::ListModelsReply& reply) {
          std::string names;
          for (const api::ModelVersion& model : reply.models())
            names += model.name() + ":" + std::to_string(model.version()) + " ";
          return names;
        });
  };
  EXPECT_EQ(models(bert), "public:1 public:2 ");
  EXPECT_EQ(models(anna), "public:1 public:2 secret:1 secret:2 ");
  EXPECT_EQ(models(administrator), models(anna));
  EXPECT_EQ(call(bert, act<api::ListModelsRequest, api::ListModelsReply>(
                           &Stub::ListModels, [](auto& request) { request.set_reference("12001/secret"); })),
            "MLE-0202");
}

class JobRights : public AdminRights {
 protected:
  // On a drained device jobs stay in the queue.
  JobRights() {
    EXPECT_EQ(call(root, drain(false)), "OK");
    job = std::stoull(shown<api::Job>(
        daemon, anna,
        [](Stub& stub, grpc::ClientContext& context, api::Job& reply) {
          api::SubmitJobRequest request;
          request.set_name("hers");
          request.set_specification("seed = 1\n");
          request.set_directory("/");
          request.set_devices(1);
          request.set_memory_bytes(1 << 20);
          return stub.SubmitJob(&context, request, &reply);
        },
        [](const api::Job& reply) { return std::to_string(reply.id()); }));
  }
  std::uint64_t job = 0;
};

TEST_F(JobRights, WhoPausesResumesAndCancels) {
  for (const std::uint64_t id : {job, job + 1000}) {  // hers, and one that does not exist
    EXPECT_EQ(call(bert, on_job(&Stub::PauseJob, id)), "MLE-0203");
    EXPECT_EQ(call(bert, on_job(&Stub::ResumeJob, id)), "MLE-0203");
    EXPECT_EQ(call(bert, on_job(&Stub::CancelJob, id)), "MLE-0203");
    EXPECT_EQ(call(bert, on_job(&Stub::ShowJob, id)), "MLE-0203");
    EXPECT_EQ(call(bert, on_job(&Stub::WhyJob, id)), "MLE-0203");
    EXPECT_EQ(call(bert, act<api::ReadJobLogRequest, api::ReadJobLogReply>(
                             &Stub::ReadJobLog, [id](auto& request) { request.set_id(id); })),
              "MLE-0203");
  }
  EXPECT_EQ(job_state(job), "queued");
  EXPECT_EQ(call(anna, on_job(&Stub::PauseJob, job)), "OK");
  EXPECT_EQ(job_state(job), "paused");
  EXPECT_EQ(call(administrator, on_job(&Stub::ResumeJob, job)), "OK");
  EXPECT_EQ(job_state(job), "queued");
  EXPECT_EQ(call(administrator, on_job(&Stub::CancelJob, job)), "OK");
  EXPECT_EQ(job_state(job), "cancelled");
  EXPECT_EQ(call(anna, on_job(&Stub::PauseJob, job)), "MLE-0210");
  EXPECT_EQ(call(anna, on_job(&Stub::ResumeJob, job)), "MLE-0210");
}

TEST_F(JobRights, OnlyAdministratorsSubmitAboveTheirTurn) {
  EXPECT_EQ(call(bert, submit(1)), "MLE-0205");
  EXPECT_EQ(call(bert, submit(101)), "MLE-0001");
  EXPECT_EQ(call(bert, submit(-101)), "MLE-0001");
  EXPECT_EQ(call(bert, submit(-100)), "OK");
  EXPECT_EQ(call(administrator, submit(100)), "OK");
}

TEST_F(JobRights, OnlyAdministratorsSeeEverybodysThings) {
  const Act jobs = act<api::ListJobsRequest, api::ListJobsReply>(&Stub::ListJobs,
                                                                 [](auto& request) { request.set_all_users(true); });
  const Act clients = act<api::ListClientsRequest, api::ListClientsReply>(
      &Stub::ListClients, [](auto& request) { request.set_all_users(true); });
  const Act limits = act<api::ShowLimitsRequest, api::ShowLimitsReply>(&Stub::ShowLimits, [](auto& request) {
    request.set_uid(kAnna);
    request.set_of_uid(true);
  });
  for (const Act& all : {jobs, clients, limits}) {
    EXPECT_EQ(call(bert, all), "MLE-0205");
    EXPECT_EQ(call(administrator, all), "OK");
    EXPECT_EQ(call(root, all), "OK");
  }
  EXPECT_EQ(call(anna, limits), "OK");  // her own
}

TEST_F(AdminRights, OnlyAdministratorsDrain) {
  EXPECT_EQ(call(bert, drain(false)), "MLE-0205");
  EXPECT_EQ(call(bert, drain(true)), "MLE-0205");
  EXPECT_EQ(call(administrator, drain(false)), "OK");
  EXPECT_EQ(call(root, drain(true)), "OK");
}

TEST_F(AdminRights, ASessionIsEndedByItsOwnerAndAdministrators) {
  for (const User& who : {anna, administrator}) {
    Held held(anna, [this](const auto& hold) {
      RawSession session(daemon.socket());
      hold(std::to_string(session.welcome().session));
    });
    const std::uint64_t session = std::stoull(held.text());
    EXPECT_EQ(call(bert, kick(session)), "MLE-0204");
    EXPECT_EQ(call(bert, kick(session + 1000)), "MLE-0204");
    EXPECT_EQ(call(who, kick(session)), "OK");
    EXPECT_TRUE(eventually([&] { return call(administrator, kick(session)) == "MLE-0204"; }));
  }
}

TEST_F(AdminRights, CallsOfManyUsersAreTheirs) {
  std::vector<Forked> callers;
  for (uid_t uid = 13001; uid <= 13006; ++uid) {
    callers.emplace_back(User{uid, uid, {}}, [this, uid]() -> std::string {
      for (int round = 0; round < 60; ++round) {
        // A channel of its own each time: gRPC shares connections of channels that look the same.
        grpc::ChannelArguments arguments;
        arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
        const auto stub = api::Admin::NewStub(
            grpc::CreateCustomChannel("unix:" + daemon.admin_socket(), grpc::InsecureChannelCredentials(), arguments));
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + kPatience);
        api::ShowLimitsReply reply;
        const grpc::Status status = stub->ShowLimits(&context, {}, &reply);
        if (!status.ok()) return status.error_message();
        if (reply.uid() != uid) return "served as " + std::to_string(reply.uid());
      }
      return "";
    });
  }
  for (Forked& caller : callers) EXPECT_EQ(caller.answer(), "");
}

}  // namespace
}  // namespace ml::test
