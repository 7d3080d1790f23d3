#include "daemon/store/schema.h"

#include <string>

#include "daemon/store/sqlite.h"
#include "ml/error.h"

namespace ml::daemon {

namespace {

constexpr const char* kSteps[] = {
    // 1: jobs and aliases
    R"(
    CREATE TABLE jobs (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      uid INTEGER NOT NULL, gid INTEGER NOT NULL,
      name TEXT NOT NULL, specification TEXT NOT NULL, directory TEXT NOT NULL,
      devices INTEGER NOT NULL, backend TEXT NOT NULL, memory_bytes INTEGER NOT NULL,
      priority INTEGER NOT NULL, deadline INTEGER NOT NULL,
      state TEXT NOT NULL, reason TEXT NOT NULL, exit_code INTEGER NOT NULL,
      submitted_at INTEGER NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,
      starts INTEGER NOT NULL, failures INTEGER NOT NULL,
      step INTEGER NOT NULL, steps INTEGER NOT NULL, epoch INTEGER NOT NULL, epochs INTEGER NOT NULL,
      loss REAL, accuracy REAL
    );
    CREATE TABLE aliases (
      owner INTEGER NOT NULL, name TEXT NOT NULL, alias TEXT NOT NULL,
      version INTEGER NOT NULL, previous INTEGER NOT NULL,
      PRIMARY KEY (owner, name, alias)
    ) WITHOUT ROWID;
    )",
    // 2: fair share over restarts, drained devices, preemption and checkpoints
    R"(
    ALTER TABLE jobs ADD COLUMN device_ns INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN preemptions INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN checkpoint_step INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE drained (device TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE usage (uid INTEGER PRIMARY KEY, device_seconds REAL, at INTEGER NOT NULL);
    )",
};

}  // namespace

std::span<const char* const> schema_steps() { return kSteps; }

void migrate(Database& database, std::uint32_t to) {
  Transaction transaction(database);
  const std::uint64_t version = database.pragma("user_version");
  const std::uint64_t application = database.pragma("application_id");
  const bool empty = version == 0 && application == 0 && [&] {
    Statement tables(database, "SELECT count(*) FROM sqlite_schema");
    return tables.step() && tables.integer(0) == 0;
  }();
  if (!empty && application != kApplicationId) {
    throw Error(Code::corrupt, "this SQLite file was not written by mld", database.path(),
                "give --state a folder of mld's own");
  }
  if (version > to) {
    throw Error(Code::unsupported,
                "the state database has schema version " + std::to_string(version) +
                    ", and this mld knows versions up to " + std::to_string(to),
                database.path(), "it was written by a newer mlaccel: install that one, or give --state another folder");
  }
  for (const char* step : schema_steps().subspan(version, to - version)) database.execute(step);
  if (empty) database.execute(("PRAGMA application_id = " + std::to_string(kApplicationId)).c_str());
  if (version != to) database.execute(("PRAGMA user_version = " + std::to_string(to)).c_str());
  transaction.commit();
}

}  // namespace ml::daemon
