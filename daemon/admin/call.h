// A call on its way from one of gRPC's threads to the loop and back. Included only where gRPC's headers are needed.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "daemon/admin/failure.h"
#include "daemon/loop/loop.h"

namespace ml::daemon {

class Calls;

// Answered once: by whoever carries it out, by its end at the client, or by the server's. All on the loop's thread.
class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(Calls& calls, grpc::CallbackServerContext& context) : calls_(calls), context_(context) {}
  virtual ~Call() = default;
  Call(const Call&) = delete;

  // False: answered already, so that nothing of it needs to be done.
  bool open() const { return reactor_ != nullptr; }
  void succeed();
  void fail(const Failure& failure);
  void give_up(grpc::StatusCode code);  // the client has gone, or its deadline has
  bool gone() const { return open() && context_.IsCancelled(); }

 protected:
  virtual void hand_over_reply() = 0;

 private:
  friend class Calls;
  class Reactor;
  void finish(const grpc::Status& status);

  Calls& calls_;
  grpc::CallbackServerContext& context_;  // gone once it is answered, like the reactor
  grpc::ServerUnaryReactor* reactor_ = nullptr;
};

template <class Request, class Reply>
class TypedCall final : public Call {
 public:
  TypedCall(Calls& calls, grpc::CallbackServerContext& context, const Request& from, Reply& to)
      : Call(calls, context), request(from), to_(to) {}

  const Request request;
  Reply reply;  // its own: may be filled in after the client has gone

 private:
  void hand_over_reply() override { to_ = std::move(reply); }
  Reply& to_;
};

// All calls under way.
class Calls {
 public:
  explicit Calls(Loop& loop) : loop_(loop) {}

  // From a gRPC thread. `carry_out` runs on the loop, unless the call was answered before.
  template <class Request, class Reply>
  grpc::ServerUnaryReactor* begin(grpc::CallbackServerContext* context, const Request* request, Reply* reply,
                                  std::function<void(std::shared_ptr<TypedCall<Request, Reply>>)> carry_out) {
    auto call = std::make_shared<TypedCall<Request, Reply>>(*this, *context, *request, *reply);
    return start(call, [call, carry_out = std::move(carry_out)] { carry_out(call); });
  }
  // On the loop's thread: everything under way is answered with kStopping, and everything that still comes.
  void stop();

 private:
  friend class Call;
  grpc::ServerUnaryReactor* start(const std::shared_ptr<Call>& call, std::function<void()> carry_out);
  void forget(Call* call);

  Loop& loop_;
  std::mutex mutex_;
  bool stopping_ = false;
  std::unordered_set<std::shared_ptr<Call>> under_way_;
};

}  // namespace ml::daemon
