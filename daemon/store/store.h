// What mld remembers across restarts, in SQLite: jobs, aliases, drained devices, usage. The schema has a version
// (PRAGMA user_version); an older file is migrated step by step in one transaction, a newer one is refused.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ml::daemon {

struct StoredJob {
  std::uint64_t id = 0;
  std::uint32_t uid = 0, gid = 0;
  std::string name;
  std::string specification;  // TOML, opaque to mld
  std::string directory;      // the owner's working directory; only the job's process enters it
  std::uint32_t devices = 1;
  std::string backend;
  std::uint64_t memory_bytes = 0;
  std::int32_t priority = 0;
  std::uint64_t deadline = 0;  // CLOCK_REALTIME ns, 0: none
  std::string state;           // job_state_name()
  std::string reason;          // why it ended, or is paused
  std::int32_t exit_code = 0;
  std::uint64_t submitted_at = 0, started_at = 0, ended_at = 0;  // CLOCK_REALTIME ns
  std::uint64_t device_ns = 0;                                   // run so far
  std::uint32_t starts = 0, preemptions = 0, failures = 0;
  std::uint64_t step = 0, steps = 0, epoch = 0, epochs = 0, checkpoint_step = 0;
  double loss = 0, accuracy = 0;
};
struct StoredAlias {
  std::uint32_t owner;
  std::string name, alias;
  std::uint64_t version, previous;  // previous 0: none
};
struct StoredUsage {
  std::uint32_t uid;
  double device_seconds;  // decayed
  std::uint64_t at;       // CLOCK_REALTIME ns
};

class Store {
 public:
  // Opens or creates it. Throws corrupt (with the file and what SQLite says), unsupported for a newer schema, io.
  explicit Store(const std::string& path);
  ~Store();

  std::uint64_t add_job(const StoredJob& job);  // answers its id
  void update_job(const StoredJob& job);
  std::vector<StoredJob> jobs();
  void remove_job(std::uint64_t id);

  void set_alias(const StoredAlias& alias);
  std::vector<StoredAlias> aliases();

  void set_drained(const std::string& device, bool drained);
  std::vector<std::string> drained();

  void set_usage(const StoredUsage& usage);
  std::vector<StoredUsage> usage();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ml::daemon
