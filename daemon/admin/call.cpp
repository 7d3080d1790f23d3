#include "daemon/admin/call.h"

#include <vector>

namespace ml::daemon {

namespace {

grpc::StatusCode status_of(const Failure& failure) {
  const ErrorPage* page = find_error_page(failure.code);
  switch (page ? page->outcome : Outcome::failed) {
    case Outcome::invalid: return grpc::StatusCode::INVALID_ARGUMENT;
    case Outcome::missing: return grpc::StatusCode::NOT_FOUND;
    case Outcome::denied: return grpc::StatusCode::PERMISSION_DENIED;
    case Outcome::conflict: return grpc::StatusCode::FAILED_PRECONDITION;
    case Outcome::full: return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Outcome::timed_out: return grpc::StatusCode::DEADLINE_EXCEEDED;
    case Outcome::unavailable: return grpc::StatusCode::UNAVAILABLE;
    case Outcome::failed: break;
  }
  return grpc::StatusCode::INTERNAL;
}

Failure stopping() {
  return {codes::kStopping, Error(Code::again, "mld is stopping", {}, "try again when it has started again")};
}

}  // namespace

// Owned by gRPC until OnDone, which comes behind the answer and behind OnCancel.
class Call::Reactor final : public grpc::ServerUnaryReactor {
 public:
  Reactor(Loop& loop, std::weak_ptr<Call> call) : loop_(loop), call_(std::move(call)) {}

 private:
  void OnCancel() override {
    loop_.post([call = call_] {
      if (const auto alive = call.lock()) alive->give_up(grpc::StatusCode::CANCELLED);
    });
  }
  void OnDone() override { delete this; }

  Loop& loop_;
  std::weak_ptr<Call> call_;
};

void Call::finish(const grpc::Status& status) {
  calls_.forget(this);
  // Behind this neither the context nor the reply is there any more.
  std::exchange(reactor_, nullptr)->Finish(status);
}

void Call::succeed() {
  if (!open()) return;
  hand_over_reply();
  finish(grpc::Status::OK);
}

void Call::fail(const Failure& failure) {
  if (open()) finish({status_of(failure), status_message(failure)});
}

void Call::give_up(grpc::StatusCode code) {
  if (open()) finish({code, "the caller did not wait for the answer"});
}

grpc::ServerUnaryReactor* Calls::start(const std::shared_ptr<Call>& call, std::function<void()> carry_out) {
  auto* const reactor = new Call::Reactor(loop_, call);
  call->reactor_ = reactor;
  {
    const std::lock_guard lock(mutex_);
    if (!stopping_) {
      under_way_.insert(call);
      loop_.post([call, carry_out = std::move(carry_out)] {
        if (call->gone()) call->give_up(grpc::StatusCode::CANCELLED);
        if (!call->open()) return;
        try {
          carry_out();
        } catch (...) {
          call->fail(caught_failure());
        }
      });
      return reactor;
    }
  }
  call->fail(stopping());
  return reactor;
}

void Calls::forget(Call* call) {
  const std::lock_guard lock(mutex_);
  under_way_.erase(call->shared_from_this());
}

void Calls::stop() {
  std::unordered_set<std::shared_ptr<Call>> open;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    open = under_way_;
  }
  for (const std::shared_ptr<Call>& call : open) call->fail(stopping());
}

}  // namespace ml::daemon
