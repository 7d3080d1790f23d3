#include "daemon/registry/registry.h"

#include <fcntl.h>
#include <time.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "daemon/registry/background.h"
#include "daemon/registry/library.h"
#include "daemon/registry/loads.h"
#include "daemon/registry/model_file.h"
#include "daemon/registry/scan.h"
#include "daemon/sessions/sessions.h"
#include "libmlclient/transport/failure.h"
#include "ml/error.h"

namespace ml::daemon {

namespace protocol = worker_protocol;

namespace {

constexpr unsigned kThreads = 4;
constexpr std::size_t kMostAliases = 64;  // of one model beside "latest"; each is stored for ever

std::uint64_t realtime_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

// A model on its way in. It holds its share of the limits and its folder until it is registered or given up.
struct Arrival {
  Arrival(Limits& from, std::uint32_t uid, std::uint64_t size) : limits(from) {
    manifest.owner = uid;
    manifest.bytes = size;
    limits.take(uid, Resource::models);
    try {
      limits.take(uid, Resource::model_bytes, size);
    } catch (...) {
      limits.give(uid, Resource::models);
      throw;
    }
  }
  ~Arrival() { abandon(); }
  void abandon() {
    if (std::exchange(settled, true)) return;
    done = nullptr;
    limits.give(manifest.owner, Resource::models);
    limits.give(manifest.owner, Resource::model_bytes, manifest.bytes);
    remove_folder();
  }
  void remove_folder() const {
    std::error_code ignored;  // what stays there is removed by the next scan
    if (!folder.empty()) std::filesystem::remove_all(folder, ignored);
  }

  Limits& limits;
  Manifest manifest;
  std::string folder;
  std::uint64_t id = 0;
  std::uint64_t session = 0;        // for which a worker tries it
  WorkerProcess* worker = nullptr;  // null: died
  bool settled = false;             // registered or given up
  Registry::Registered done;
};

struct Registry::State : std::enable_shared_from_this<State> {
  using Entry = Library::Entry;
  using ArrivalPtr = std::shared_ptr<Arrival>;

  State(Loop& on, const Config& config, Limits& counted, Store& kept)
      : loop(on), limits(counted), store(kept), folders(config.state_directory) {
    loads.on_change = [this](std::uint64_t id) {
      if (const Entry entry = library.find(id)) entry->model.loaded_on = loads.devices_with(id);
    };
  }

  ~State() {
    threads.stop();
    for (const ArrivalPtr& arrival : arrivals) arrival->abandon();  // what is posted already may outlive the limits
  }

  // Runs `work` on a background thread and then `then` on the loop, with what `work` threw. Behind the registry's end
  // neither runs.
  void background(std::uint32_t uid, std::function<void()> work, std::function<void(const Error*)> then) {
    threads.run(uid, [this, self = weak_from_this(), work = std::move(work), then = std::move(then)]() mutable {
      std::shared_ptr<Error> error;
      try {
        work();
      } catch (...) {
        error = std::make_shared<Error>(transport::failure_from(std::current_exception()));
      }
      work = nullptr;
      loop.post([self, error, then = std::move(then)] {
        if (const auto alive = self.lock()) then(error.get());
      });
    });
  }

  void add(const ArrivalPtr& arrival, const std::shared_ptr<transport::UniqueFd>& file);
  void try_on_worker(const ArrivalPtr& arrival);
  void publish(const ArrivalPtr& arrival);
  void give_up(const ArrivalPtr& arrival, const Error& error);
  Entry insert(const Manifest& manifest, std::uint64_t id);

  void verify(const Entry& entry, Loads::Done done);
  void discard(const Entry& entry, const std::string& reason);
  void ensure_loaded(const Entry& entry, WorkerProcess& worker, std::uint64_t session, Loads::Done done);

  Entry entry_of(const ModelVersion& model) const {
    Entry entry = library.find(model.id);
    if (!entry) throw Error(Code::not_found, "the model is not there any more", model.name);
    return entry;
  }

  Loop& loop;
  Limits& limits;
  Store& store;
  ModelFolders folders;
  Library library;
  Loads loads;
  std::set<ArrivalPtr> arrivals;
  std::vector<std::string> set_aside;
  std::uint64_t next_id = 0;
  Background threads{kThreads};
};

// ---- arrival: copy, try, publish

void Registry::State::add(const ArrivalPtr& arrival, const std::shared_ptr<transport::UniqueFd>& file) {
  arrivals.insert(arrival);
  background(
      arrival->manifest.owner,
      [this, arrival, file] {
        arrival->manifest.checksum =
            copy_and_sync(file->get(), arrival->manifest.bytes, arrival->folder + "/" + kModelFile, threads.stopping());
      },
      [this, arrival](const Error* error) {
        if (error) return give_up(arrival, *error);
        try_on_worker(arrival);
      });
}

void Registry::State::try_on_worker(const ArrivalPtr& arrival) {
  if (!arrival->worker) {
    return give_up(arrival, Error(Code::device_lost, "the worker ended before it had tried the model",
                                  arrival->manifest.name, "mld starts another one; register the model again"));
  }
  loads.load(
      *arrival->worker, arrival->session, arrival->id, arrival->folder + "/" + kModelFile, arrival->manifest.bytes,
      [](const Loads::Done& prepared) { prepared(nullptr); },
      [this, arrival](const Error* error) {
        if (error) return give_up(arrival, error->within("register model '" + arrival->manifest.name + "'"));
        publish(arrival);
      });
}

void Registry::State::publish(const ArrivalPtr& arrival) {
  Manifest& manifest = arrival->manifest;
  manifest.version = library.new_version(manifest.owner, manifest.name);
  manifest.registered_at = realtime_ns();
  background(
      manifest.owner, [this, arrival] { folders.publish(arrival->folder, arrival->manifest); },
      [this, arrival](const Error* error) {
        if (error) {
          if (arrival->worker) loads.unload(*arrival->worker, arrival->id, [](const Error*) {});
          return give_up(arrival, *error);
        }
        arrival->settled = true;
        arrivals.erase(arrival);
        const Entry entry = insert(arrival->manifest, arrival->id);
        entry->bytes = LibraryEntry::Bytes::verified;
        entry->model.loaded_on = loads.devices_with(entry->model.id);
        arrival->done(&entry->model, nullptr);
      });
}

void Registry::State::give_up(const ArrivalPtr& arrival, const Error& error) {
  // Removing gigabytes takes its time too.
  background(
      arrival->manifest.owner, [arrival] { arrival->remove_folder(); },
      [this, arrival, error](const Error*) {
        arrivals.erase(arrival);
        const Registered done = std::exchange(arrival->done, nullptr);
        arrival->abandon();
        done(nullptr, &error);
      });
}

Library::Entry Registry::State::insert(const Manifest& manifest, std::uint64_t id) {
  return library.insert({.id = id,
                         .owner = manifest.owner,
                         .name = manifest.name,
                         .version = manifest.version,
                         .shared = manifest.shared,
                         .bytes = manifest.bytes,
                         .checksum = manifest.checksum,
                         .registered_at = manifest.registered_at,
                         .aliases = {},
                         .loaded_on = {},
                         .path = folders.version(manifest.owner, manifest.name, manifest.version) + "/" + kModelFile});
}

// ---- loading

// Holds the bytes against the checksum, once while mld lives.
void Registry::State::verify(const Entry& entry, Loads::Done done) {
  if (entry->bytes == LibraryEntry::Bytes::verified) return done(nullptr);
  entry->when_verified.push_back(std::move(done));
  if (entry->bytes == LibraryEntry::Bytes::verifying) return;
  entry->bytes = LibraryEntry::Bytes::verifying;
  background(
      entry->model.owner,
      [this, path = entry->model.path, expected = entry->model.checksum] {
        if (checksum_of(path, threads.stopping()) != expected) {
          throw Error(Code::corrupt, "the model's file does not have the checksum that it was registered with", path,
                      "register the model again, and check the disk");
        }
      },
      [this, entry](const Error* error) {
        entry->bytes = error ? LibraryEntry::Bytes::unverified : LibraryEntry::Bytes::verified;
        const auto waiting = std::exchange(entry->when_verified, {});
        if (error && error->code() == Code::corrupt) discard(entry, error->message());
        for (const auto& call : waiting) call(error);
      });
}

void Registry::State::discard(const Entry& entry, const std::string& reason) {
  const ModelVersion& model = entry->model;
  library.remove(*entry);
  limits.give(model.owner, Resource::models);
  limits.give(model.owner, Resource::model_bytes, model.bytes);
  set_aside.push_back(
      folders.set_aside(std::to_string(model.owner) + "/" + model.name + "/" + std::to_string(model.version), reason));
}

void Registry::State::ensure_loaded(const Entry& entry, WorkerProcess& worker, std::uint64_t session,
                                    Loads::Done done) {
  loads.load(
      worker, session, entry->model.id, entry->model.path, entry->model.bytes,
      [this, entry](Loads::Done prepared) { verify(entry, std::move(prepared)); }, std::move(done));
}

// ---- the door

Registry::Registry(Loop& loop, const Config& config, Limits& limits, Store& store)
    : state_(std::make_shared<State>(loop, config, limits, store)) {}

Registry::~Registry() = default;

std::vector<std::string> Registry::scan() {
  State& state = *state_;
  const ModelFolders::Found found = state.folders.scan();
  for (const auto& [key, version] : found.highest) state.library.reserve_versions(key.first, key.second, version);
  for (const Manifest& manifest : found.models) {
    state.limits.count(manifest.owner, Resource::models);
    state.limits.count(manifest.owner, Resource::model_bytes, manifest.bytes);
    state.insert(manifest, ++state.next_id);
  }
  for (const StoredAlias& alias : state.store.aliases()) state.library.set_alias(alias);
  state.set_aside = found.set_aside;
  return found.set_aside;
}

const std::vector<std::string>& Registry::set_aside() const { return state_->set_aside; }

void Registry::add(const Peer& owner, const std::string& name, bool shared, transport::UniqueFd file,
                   std::uint64_t bytes, WorkerProcess& worker, std::uint64_t session, Registered done) {
  try {
    check_name(name, "model");
    check_sealed(file.get(), bytes);
    const auto arrival = std::make_shared<Arrival>(state_->limits, owner.uid, bytes);
    arrival->manifest.name = name;
    arrival->manifest.shared = shared;
    arrival->folder = state_->folders.new_incoming();
    arrival->id = ++state_->next_id;
    arrival->worker = &worker;
    arrival->session = session;
    arrival->done = std::move(done);
    state_->add(arrival, std::make_shared<transport::UniqueFd>(std::move(file)));
  } catch (const Error& error) {
    done(nullptr, &error);
  }
}

const ModelVersion& Registry::find(const std::string& reference, const Peer& who) const {
  return state_->library.find(reference, who)->model;
}

const ModelVersion* Registry::find(std::uint64_t id) const {
  const Library::Entry entry = state_->library.find(id);
  return entry ? &entry->model : nullptr;
}

std::vector<const ModelVersion*> Registry::list(const Peer& who) const {
  std::vector<const ModelVersion*> models;
  for (const Library::Entry& entry : state_->library.visible(who)) models.push_back(&entry->model);
  return models;
}

void Registry::open(const ModelVersion& model, WorkerProcess& worker, std::uint64_t session, Opened done) {
  const Library::Entry entry = state_->entry_of(model);
  // Not captured by reference in what runs after the worker's death: load() answers with an error then.
  state_->ensure_loaded(entry, worker, session, [entry, &worker, session, done = std::move(done)](const Error* error) {
    if (error) return done(nullptr, {}, -1, error);
    protocol::OpenModel request{};
    request.header.kind = static_cast<std::uint32_t>(protocol::Kind::open_model);
    request.session = session;
    request.model = entry->model.id;
    worker.request(request, {}, [entry, done](transport::Packet* answer, const Error* failed) {
      if (failed) return done(nullptr, {}, -1, failed);
      const auto* opened = answer->as<protocol::ModelOpened>();
      const transport::UniqueFd file(::open(entry->model.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
      if (!opened || !file) {
        const Error wrong =
            opened ? Error(Code::io, "can't open it: " + std::generic_category().message(errno), entry->model.path)
                   : Error(Code::internal, "the worker's answer to OPEN_MODEL has another form");
        return done(nullptr, {}, -1, &wrong);
      }
      done(&entry->model, opened->program, file.get(), nullptr);
    });
  });
}

void Registry::load(const ModelVersion& model, Device& device, Finished done) {
  const Library::Entry entry = state_->entry_of(model);
  if (!device.serving) {
    const Error error(Code::device_lost, "the device has no worker at the moment", device.config.name,
                      "mld is starting one; try again");
    return done(&error);
  }
  state_->ensure_loaded(entry, *device.serving, 0, std::move(done));
}

void Registry::unload(const ModelVersion& model, Device& device, Finished done) {
  if (!device.serving) return done(nullptr);
  state_->loads.unload(*device.serving, model.id, std::move(done));
}

void Registry::promote(const ModelVersion& model, const std::string& alias, const Peer& who) {
  const std::string name = alias.empty() ? kLatest : alias;
  check_name(name, "alias");
  const Library::Entry entry = state_->entry_of(model);
  if (!who.admin && who.uid != model.owner)
    throw Error(Code::denied, "the aliases of '" + model.name + "' are its owner's to move", {},
                "ask its owner or an administrator");
  StoredAlias moved{model.owner, model.name, name, model.version, 0};
  if (const StoredAlias* now = state_->library.alias(model.owner, model.name, name)) {
    if (now->version == model.version) return;
    moved.previous = now->version;
  } else if (name != kLatest && state_->library.alias_count(model.owner, model.name) >= kMostAliases) {
    throw Error(Code::no_space,
                "'" + model.name + "' has " + std::to_string(kMostAliases) + " aliases, and may have no more", {},
                "move one that it has");
  } else if (name == kLatest) {
    // Until it is set it means the newest.
    const ModelVersion& newest = state_->library.newest(model.owner, model.name)->model;
    if (newest.version != model.version) moved.previous = newest.version;
  }
  state_->store.set_alias(moved);
  state_->library.set_alias(moved);
}

const ModelVersion& Registry::rollback(const std::string& reference, const std::string& alias, const Peer& who) {
  const Reference parsed = parse_reference(reference);
  const std::string name = alias.empty() ? kLatest : alias;
  check_name(name, "alias");
  if (parsed.version != 0 || !parsed.alias.empty())
    throw Error(Code::invalid_argument, "'" + reference + "' names a version, and a rollback is of an alias", {},
                "name the model alone, and the alias with --alias");
  const Library::Entry any = state_->library.find(reference + "@" + name, who);
  const ModelVersion& model = any->model;
  if (!who.admin && who.uid != model.owner)
    throw Error(Code::denied, "the aliases of '" + model.name + "' are its owner's to move", {},
                "ask its owner or an administrator");
  const StoredAlias* now = state_->library.alias(model.owner, model.name, name);
  if (!now || now->previous == 0)
    throw Error(Code::not_found, "the alias '" + name + "' of '" + model.name + "' meant nothing else before", {},
                "choose a version with `mlctl model promote`");
  const Library::Entry before = state_->library.find(model.owner, model.name, now->previous);
  if (!before)
    throw Error(Code::not_found,
                "version " + std::to_string(now->previous) + " of '" + model.name + "', which '" + name +
                    "' meant before, is not there any more",
                {}, "choose another version with `mlctl model promote`");
  const StoredAlias moved{model.owner, model.name, name, now->previous, 0};
  state_->store.set_alias(moved);
  state_->library.set_alias(moved);
  return before->model;
}

void Registry::worker_died(WorkerProcess& worker) {
  for (const auto& arrival : state_->arrivals)
    if (arrival->worker == &worker) arrival->worker = nullptr;
  state_->loads.worker_died(worker);
}

}  // namespace ml::daemon
