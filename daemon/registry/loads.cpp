#include "daemon/registry/loads.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "libmlclient/transport/unique_fd.h"
#include "ml/error.h"

namespace ml::daemon {

namespace protocol = worker_protocol;

namespace {

template <class Message>
Message message(protocol::Kind kind) {
  Message made{};
  made.header.kind = static_cast<std::uint32_t>(kind);
  return made;
}

Error lost(const std::string& worker) {
  return Error(Code::device_lost, "the worker ended before the model was loaded", worker,
               "mld starts another one; try again");
}

}  // namespace

void Loads::load(WorkerProcess& worker, std::uint64_t session, std::uint64_t model, const std::string& path,
                 std::uint64_t bytes, const Prepare& prepare, Done done) {
  std::shared_ptr<Load>& place = loads_[{&worker, model}];
  if (place) place->used = ++clock_;
  if (place && place->there) return done(nullptr);
  if (place) return place->waiting.push_back(std::move(done));
  const auto load = place = std::make_shared<Load>(Load{&worker, session, model, path, bytes, ++clock_, false, {}, {}});
  load->waiting.push_back(std::move(done));
  prepare([self = std::weak_ptr(self_), load](const Error* error) {
    const auto loads = self.lock();
    if (!loads || !load->worker) return;
    if (error) return (*loads)->finish(load, error);
    (*loads)->make_room(*load);
    (*loads)->send(load);
  });
}

void Loads::send(const std::shared_ptr<Load>& load) {
  const transport::UniqueFd file(open(load->path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) {
    const Error error(Code::io, "can't open the model: " + std::generic_category().message(errno), load->path);
    return finish(load, &error);
  }
  auto request = message<protocol::LoadModel>(protocol::Kind::load_model);
  request.model = load->model;
  request.bytes = load->bytes;
  request.session = load->session;
  const std::array<int, 1> fds{file.get()};
  load->worker->request(request, fds, [self = std::weak_ptr(self_), load](transport::Packet*, const Error* error) {
    if (const auto loads = self.lock()) (*loads)->answered(load, error);
  });
}

void Loads::answered(const std::shared_ptr<Load>& load, const Error* error) {
  const bool full = error && (error->code() == Code::no_space || error->code() == Code::out_of_memory);
  if (full && load->worker && unload_oldest(*load->worker, *load)) return send(load);
  finish(load, error);
}

void Loads::make_room(const Load& load) {
  const std::uint64_t most = load.worker->spec().memory_bytes / 2;
  if (most == 0) return;  // not limited
  for (;;) {
    std::uint64_t bytes = load.bytes;
    for (const auto& [key, other] : loads_)
      if (key.first == load.worker && other->there) bytes += other->bytes;
    if (bytes <= most || !unload_oldest(*load.worker, load)) return;
  }
}

bool Loads::unload_oldest(WorkerProcess& worker, const Load& but) {
  const Load* oldest = nullptr;
  for (const auto& [key, load] : loads_)
    if (key.first == &worker && load->there && load.get() != &but && (!oldest || load->used < oldest->used))
      oldest = load.get();
  if (!oldest) return false;
  unload(worker, oldest->model, [](const Error*) {});  // a worker that dies of it is noticed elsewhere
  return true;
}

// Comes once from the worker's answer or from its death, whichever is first.
void Loads::finish(const std::shared_ptr<Load>& load, const Error* error) {
  if (load->waiting.empty()) return;
  const std::vector<Done> waiting = std::exchange(load->waiting, {});
  const std::vector<Done> unloading = std::exchange(load->unloading, {});
  load->there = !error;
  if (error && load->worker) loads_.erase({load->worker, load->model});
  if (!error) changed(load->model);
  for (const Done& done : waiting) done(error);
  for (const Done& done : unloading) {
    if (load->worker && load->there) {
      unload(*load->worker, load->model, done);
    } else {
      done(nullptr);  // it is not there, as was asked
    }
  }
}

void Loads::unload(WorkerProcess& worker, std::uint64_t model, Done done) {
  const auto found = loads_.find({&worker, model});
  if (found == loads_.end()) return done(nullptr);
  if (!found->second->there) return found->second->unloading.push_back(std::move(done));
  found->second->there = false;
  loads_.erase(found);
  changed(model);
  auto request = message<protocol::UnloadModel>(protocol::Kind::unload_model);
  request.model = model;
  worker.request(request, {}, [done = std::move(done)](transport::Packet*, const Error* error) { done(error); });
}

void Loads::worker_died(WorkerProcess& worker) {
  const auto first = loads_.lower_bound({&worker, 0});
  auto last = first;
  std::vector<std::shared_ptr<Load>> gone;
  for (; last != loads_.end() && last->first.first == &worker; ++last) gone.push_back(last->second);
  loads_.erase(first, last);
  const Error error = lost(worker.spec().name);
  for (const std::shared_ptr<Load>& load : gone) {
    load->worker = nullptr;
    finish(load, &error);
    changed(load->model);
  }
}

std::vector<std::string> Loads::devices_with(std::uint64_t model) const {
  std::vector<std::string> devices;
  for (const auto& [key, load] : loads_) {
    if (key.second != model || !load->there) continue;
    const std::vector<std::string>& names = key.first->spec().devices;
    devices.insert(devices.end(), names.begin(), names.end());
  }
  std::sort(devices.begin(), devices.end());
  devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
  return devices;
}

}  // namespace ml::daemon
