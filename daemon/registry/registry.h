// Models on disk: <state>/models/<uid>/<name>/<version>/ holds model.mlmodel and manifest.toml, never changed once
// there. Aliases are in the store. Only what the owner shares can be seen by others; what can't be seen is "not found",
// whether it exists or not. mld copies bytes and parses none of them: a worker loads each model once before it is
// registered.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/limits/limits.h"
#include "daemon/loop/loop.h"
#include "daemon/workers/devices.h"

namespace ml::daemon {

struct Peer;
class Store;

struct ModelVersion {
  std::uint64_t id;  // never used twice while mld lives; names it to workers
  std::uint32_t owner;
  std::string name;
  std::uint64_t version;
  bool shared;
  std::uint64_t bytes;
  std::string checksum;                // of the file
  std::uint64_t registered_at;         // CLOCK_REALTIME ns
  std::vector<std::string> aliases;    // "latest" is the newest, unless it was set
  std::vector<std::string> loaded_on;  // devices
  std::string path;
};

class Registry {
 public:
  using Registered = std::function<void(const ModelVersion* model, const Error* error)>;
  using Opened = std::function<void(const ModelVersion* model, mlring_handle program, int file, const Error* error)>;
  using Finished = std::function<void(const Error* error)>;

  Registry(Loop& loop, const Config& config, Limits& limits, Devices& devices, Store& store);
  ~Registry();

  // Reads the folder. Entries that are damaged are moved to <state>/models/damaged/ with the reason beside them, and
  // the rest serves; answers what was set aside.
  std::vector<std::string> scan();

  // Copies the sealed memfd on a background thread (fsync, rename), has `worker` load it, and registers it.
  void add(const Peer& owner, const std::string& name, bool shared, transport::UniqueFd file, std::uint64_t bytes,
           WorkerProcess& worker, Registered done);
  // The version that a reference means for `who`. Throws not_found.
  const ModelVersion& find(const std::string& reference, const Peer& who) const;
  std::vector<const ModelVersion*> list(const Peer& who) const;

  // Loads it on the worker if need be, and opens it in a session of that worker.
  void open(const ModelVersion& model, WorkerProcess& worker, std::uint64_t session, Opened done);
  void load(const ModelVersion& model, Device& device, Finished done);
  void unload(const ModelVersion& model, Device& device, Finished done);
  // An alias now means this version; the one before is remembered. Owner or admin.
  void promote(const ModelVersion& model, const std::string& alias, const Peer& who);
  // The alias means again what it did before. Answers that version.
  const ModelVersion& rollback(const std::string& reference, const std::string& alias, const Peer& who);
  void worker_died(WorkerProcess& worker);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ml::daemon
