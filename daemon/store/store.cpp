#include "daemon/store/store.h"

#include <sqlite3.h>

#include <string_view>
#include <type_traits>

#include "daemon/store/schema.h"
#include "daemon/store/sqlite.h"
#include "ml/error.h"

namespace ml::daemon {

namespace {

// The columns of a job behind its id, and where they are in memory.
template <class Job, class Visit>
void visit_columns(Job& job, Visit visit) {
  visit("uid", job.uid);
  visit("gid", job.gid);
  visit("name", job.name);
  visit("specification", job.specification);
  visit("directory", job.directory);
  visit("devices", job.devices);
  visit("backend", job.backend);
  visit("memory_bytes", job.memory_bytes);
  visit("priority", job.priority);
  visit("deadline", job.deadline);
  visit("state", job.state);
  visit("reason", job.reason);
  visit("exit_code", job.exit_code);
  visit("submitted_at", job.submitted_at);
  visit("started_at", job.started_at);
  visit("ended_at", job.ended_at);
  visit("device_ns", job.device_ns);
  visit("starts", job.starts);
  visit("preemptions", job.preemptions);
  visit("failures", job.failures);
  visit("step", job.step);
  visit("steps", job.steps);
  visit("epoch", job.epoch);
  visit("epochs", job.epochs);
  visit("checkpoint_step", job.checkpoint_step);
  visit("loss", job.loss);
  visit("accuracy", job.accuracy);
}

struct JobSql {
  std::string columns, marks;
  JobSql() {
    const StoredJob any;
    visit_columns(any, [this](const char* name, const auto&) {
      columns += columns.empty() ? name : std::string(", ") + name;
      marks += marks.empty() ? "?" : ", ?";
    });
  }
  std::string insert() const { return "INSERT INTO jobs (" + columns + ") VALUES (" + marks + ")"; }
  std::string update() const { return "UPDATE jobs SET (" + columns + ") = (" + marks + ") WHERE id = ?"; }
  std::string select() const { return "SELECT " + columns + ", id FROM jobs ORDER BY id"; }
};

template <class Value>
void bind_column(Statement& statement, const Value& value) {
  if constexpr (std::is_same_v<Value, std::string>) {
    statement.bind(std::string_view(value));
  } else if constexpr (std::is_floating_point_v<Value>) {
    statement.bind(double{value});
  } else if constexpr (std::is_signed_v<Value>) {
    statement.bind(std::int64_t{value});
  } else {
    statement.bind(std::uint64_t{value});
  }
}

template <class Value>
void read_column(const Statement& statement, int column, Value& value) {
  if constexpr (std::is_same_v<Value, std::string>) {
    value = statement.text(column);
  } else if constexpr (std::is_floating_point_v<Value>) {
    value = statement.real(column);
  } else {
    value = static_cast<Value>(statement.integer(column));
  }
}

void bind_job(Statement& statement, const StoredJob& job) {
  visit_columns(job, [&](const char*, const auto& value) { bind_column(statement, value); });
}

}  // namespace

struct Store::State {
  // Ready for statements: one writer for the file's whole life, its schema today's.
  struct Opened : Database {
    explicit Opened(const std::string& path) : Database(path) {
      execute("PRAGMA locking_mode = EXCLUSIVE");
      execute("PRAGMA trusted_schema = OFF");
      if (const std::string mode = pragma_text("journal_mode = WAL"); mode != "wal")
        throw Error(Code::io, "the state database can't keep a write-ahead log (journal mode '" + mode + "')", path,
                    "its file system has to support shared memory and locks");
      execute("PRAGMA synchronous = NORMAL");
      if (const std::string verdict = pragma_text("quick_check(1)"); verdict != "ok")
        fail(SQLITE_CORRUPT, verdict.c_str());
      migrate(*this, static_cast<std::uint32_t>(schema_steps().size()));
    }
  };

  explicit State(const std::string& path) : database(path) {}

  JobSql sql;
  Opened database;
  Statement add_job{database, sql.insert().c_str()};
  Statement update_job{database, sql.update().c_str()};
  Statement jobs{database, sql.select().c_str()};
  Statement remove_job{database, "DELETE FROM jobs WHERE id = ?"};
  Statement set_alias{database,
                      "INSERT OR REPLACE INTO aliases (owner, name, alias, version, previous) VALUES (?, ?, ?, ?, ?)"};
  Statement aliases{database, "SELECT owner, name, alias, version, previous FROM aliases"};
  Statement set_drained{database, "INSERT OR IGNORE INTO drained (device) VALUES (?)"};
  Statement unset_drained{database, "DELETE FROM drained WHERE device = ?"};
  Statement drained{database, "SELECT device FROM drained ORDER BY device"};
  Statement set_usage{database, "INSERT OR REPLACE INTO usage (uid, device_seconds, at) VALUES (?, ?, ?)"};
  Statement usage{database, "SELECT uid, device_seconds, at FROM usage"};
};

Store::Store(const std::string& path) : state_(std::make_unique<State>(path)) {}
Store::~Store() = default;

std::uint64_t Store::add_job(const StoredJob& job) {
  bind_job(state_->add_job, job);
  state_->add_job.run();
  return state_->database.last_id();
}

void Store::update_job(const StoredJob& job) {
  bind_job(state_->update_job, job);
  state_->update_job.bind(job.id).run();
  if (sqlite3_changes(state_->database.handle()) != 1)
    throw Error(Code::not_found, "there is no job " + std::to_string(job.id), state_->database.path());
}

std::vector<StoredJob> Store::jobs() {
  std::vector<StoredJob> found;
  while (state_->jobs.step()) {
    StoredJob& job = found.emplace_back();
    int column = 0;
    visit_columns(job, [&](const char*, auto& value) { read_column(state_->jobs, column++, value); });
    read_column(state_->jobs, column, job.id);
  }
  return found;
}

void Store::remove_job(std::uint64_t id) { state_->remove_job.bind(id).run(); }

void Store::set_alias(const StoredAlias& alias) {
  state_->set_alias.bind(std::uint64_t{alias.owner})
      .bind(alias.name)
      .bind(alias.alias)
      .bind(alias.version)
      .bind(alias.previous)
      .run();
}

std::vector<StoredAlias> Store::aliases() {
  std::vector<StoredAlias> found;
  Statement& row = state_->aliases;
  while (row.step())
    found.push_back(
        {static_cast<std::uint32_t>(row.integer(0)), row.text(1), row.text(2), row.integer(3), row.integer(4)});
  return found;
}

void Store::set_drained(const std::string& device, bool drained) {
  (drained ? state_->set_drained : state_->unset_drained).bind(device).run();
}

std::vector<std::string> Store::drained() {
  std::vector<std::string> found;
  while (state_->drained.step()) found.push_back(state_->drained.text(0));
  return found;
}

void Store::set_usage(const StoredUsage& usage) {
  state_->set_usage.bind(std::uint64_t{usage.uid}).bind(usage.device_seconds).bind(usage.at).run();
}

std::vector<StoredUsage> Store::usage() {
  std::vector<StoredUsage> found;
  Statement& row = state_->usage;
  while (row.step()) found.push_back({static_cast<std::uint32_t>(row.integer(0)), row.real(1), row.integer(2)});
  return found;
}

}  // namespace ml::daemon
