// Models on disk: <state>/models/<uid>/<name>/<version>/ holds model.mlmodel and manifest.toml, never changed once
// there. Aliases are in the store. Only what the owner shares can be seen by others; what can't be seen is "not found",
// whether it exists or not: the search for somebody else's model looks only among those that are shared. mld copies
// bytes and parses none of them: a worker loads each model once before it is registered.
//
// Everything here runs on the loop's thread, but copying and checking a file's bytes: that is a few background threads'
// work, of which one user occupies one at a time.
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

  Registry(Loop& loop, const Config& config, Limits& limits, Store& store);
  ~Registry();

  // Reads the folder. Entries that are damaged are moved to <state>/models/damaged/ with the reason beside them, and
  // the rest serves; answers what was set aside. Manifests and sizes are checked here; the bytes, which may be many,
  // are held against their checksum before the first worker gets them (a mismatch sets the version aside then).
  std::vector<std::string> scan();
  // What was set aside since the start, scan()'s included.
  const std::vector<std::string>& set_aside() const;

  // Copies the sealed memfd on a background thread (fsync, rename), has `worker` load it (for that session, should it
  // die of it), and registers it. Never throws: a refusal comes through `done`, which may be called before this
  // returns.
  void add(const Peer& owner, const std::string& name, bool shared, transport::UniqueFd file, std::uint64_t bytes,
           WorkerProcess& worker, std::uint64_t session, Registered done);
  // The version that a reference means for `who`. Throws not_found.
  const ModelVersion& find(const std::string& reference, const Peer& who) const;
  const ModelVersion* find(std::uint64_t id) const;  // null: not there any more
  std::vector<const ModelVersion*> list(const Peer& who) const;

  // Loads it on the worker if need be, and opens it in a session of that worker. `file` is the model's file, read-only,
  // open during the call only.
  void open(const ModelVersion& model, WorkerProcess& worker, std::uint64_t session, Opened done);
  void load(const ModelVersion& model, Device& device, Finished done);
  // Sessions that have it open keep it. Of a model that is not loaded there: nothing.
  void unload(const ModelVersion& model, Device& device, Finished done);
  // An alias (empty: "latest") now means this version; the one before is remembered. Owner or admin, else denied.
  void promote(const ModelVersion& model, const std::string& alias, const Peer& who);
  // The alias means again what it did before promote(). Answers that version. `reference` names no version.
  const ModelVersion& rollback(const std::string& reference, const std::string& alias, const Peer& who);
  // Forgets what it had loaded; who waits for it gets device_lost.
  void worker_died(WorkerProcess& worker);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace ml::daemon
