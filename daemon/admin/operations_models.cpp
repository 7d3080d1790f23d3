// Models: who may see them is the registry's to say, and what they do to devices is theirs.
#include <memory>
#include <optional>
#include <utility>

#include "daemon/admin/operations.h"
#include "daemon/process/users.h"

namespace ml::daemon {

const ModelVersion& Operations::model(const std::string& reference, const Peer& who) const {
  return naming(codes::kNoModel, Code::not_found,
                [&]() -> const ModelVersion& { return parts_.registry.find(reference, who); });
}

void Operations::fill_model(const ModelVersion& model, api::ModelVersion& out) const {
  out.set_owner(user_name(model.owner));
  out.set_owner_uid(model.owner);
  out.set_name(model.name);
  out.set_version(model.version);
  out.set_shared(model.shared);
  out.set_bytes(model.bytes);
  out.set_checksum(model.checksum);
  out.set_registered_at_ns(model.registered_at);
  for (const std::string& alias : model.aliases) out.add_aliases(alias);
  for (const std::string& device : model.loaded_on) out.add_loaded_on(device);
}

// One reference means all versions of a name, unless it names one.
void Operations::list_models(const Peer& who, const api::ListModelsRequest& request, api::ListModelsReply& reply) {
  if (request.reference().empty()) {
    for (const ModelVersion* each : parts_.registry.list(who)) fill_model(*each, *reply.add_models());
    return;
  }
  const ModelVersion& named = model(request.reference(), who);
  if (request.reference().find_first_of(":@") != std::string::npos) return fill_model(named, *reply.add_models());
  for (const ModelVersion* each : parts_.registry.list(who))
    if (each->owner == named.owner && each->name == named.name) fill_model(*each, *reply.add_models());
}

void Operations::promote_model(const Peer& who, const api::AliasRequest& request, api::ModelReply& reply) {
  const ModelVersion& version = model(request.reference(), who);
  naming(codes::kNotYours, Code::denied, [&] { parts_.registry.promote(version, request.alias(), who); });
  fill_model(version, *reply.mutable_model());
}

void Operations::rollback_model(const Peer& who, const api::AliasRequest& request, api::ModelReply& reply) {
  model(request.reference(), who);
  const ModelVersion& version = naming(codes::kNotYours, Code::denied, [&]() -> const ModelVersion& {
    return naming(codes::kNoPrevious, Code::not_found, [&]() -> const ModelVersion& {
      return parts_.registry.rollback(request.reference(), request.alias(), who);
    });
  });
  fill_model(version, *reply.mutable_model());
}

void Operations::on_devices(const api::ModelRequest& request, const ModelVersion& model, api::ModelReply& reply,
                            Done done, const std::function<void(Device&, Registry::Finished)>& act) {
  struct Progress {
    std::size_t open = 1;  // the one that is given back at the end, so that nothing is answered before all were asked
    std::optional<Failure> failure;
  };
  const auto progress = std::make_shared<Progress>();
  // The model may be set aside before all have answered, so it is looked up again.
  const auto finished = [this, progress, &reply, id = model.id, done = std::move(done)](const Error* error) {
    if (error && !progress->failure) progress->failure = failure_of(*error);
    if (--progress->open > 0) return;
    if (progress->failure) return done(&*progress->failure);
    if (const ModelVersion* now = parts_.registry.find(id)) fill_model(*now, *reply.mutable_model());
    done(nullptr);
  };
  for (Device& each : parts_.devices.all()) {
    if (!request.device().empty() && request.device() != each.config.name) continue;
    ++progress->open;
    act(each, finished);
  }
  finished(nullptr);
}

void Operations::load_model(const Peer& who, const api::ModelRequest& request, api::ModelReply& reply, Done done) {
  const ModelVersion& wanted = model(request.reference(), who);
  if (!request.device().empty() && device(request.device()).draining) {
    throw NamedError(codes::kDraining, Error(Code::again, "device " + request.device() + " is being drained", {},
                                             "choose another device, or wait until it is back"));
  }
  on_devices(request, wanted, reply, std::move(done), [&](Device& on, Registry::Finished finished) {
    if (on.draining) return finished(nullptr);
    parts_.registry.load(wanted, on, [this, id = wanted.id, finished = std::move(finished)](const Error* error) {
      if (!error || error->code() != Code::corrupt || parts_.registry.find(id)) return finished(error);
      const NamedError damaged(codes::kModelDamaged, *error);  // so it was set aside
      finished(&damaged);
    });
  });
}

void Operations::unload_model(const Peer& who, const api::ModelRequest& request, api::ModelReply& reply, Done done) {
  const ModelVersion& wanted = model(request.reference(), who);
  if (!who.admin && who.uid != wanted.owner)
    throw NamedError(codes::kNotYours, Error(Code::denied, "'" + request.reference() + "' is its owner's to unload", {},
                                             "ask its owner or an administrator"));
  if (!request.device().empty()) device(request.device());
  on_devices(request, wanted, reply, std::move(done), [&](Device& from, Registry::Finished finished) {
    parts_.registry.unload(wanted, from, std::move(finished));
  });
}

}  // namespace ml::daemon
