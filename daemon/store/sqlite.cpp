#include "daemon/store/sqlite.h"

#include <sqlite3.h>

#include <cmath>
#include <limits>
#include <utility>

#include "ml/error.h"

namespace ml::daemon {

namespace {

constexpr int kBusyTimeoutMs = 2000;

}  // namespace

Statement::Statement(Database& database, const char* sql) : database_(database) {
  const int result = sqlite3_prepare_v3(database.handle(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  if (result != SQLITE_OK) database.fail(result);
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::bound(int result) {
  if (result == SQLITE_OK) return *this;
  reset();
  database_.fail(result);
}

Statement& Statement::bind(std::int64_t value) { return bound(sqlite3_bind_int64(statement_, ++bound_, value)); }

Statement& Statement::bind(std::uint64_t value) { return bind(static_cast<std::int64_t>(value)); }

Statement& Statement::bind(double value) { return bound(sqlite3_bind_double(statement_, ++bound_, value)); }

Statement& Statement::bind(std::string_view text) {
  // An empty view may have no address, which would be stored as NULL.
  const char* bytes = text.data() ? text.data() : "";
  return bound(sqlite3_bind_text64(statement_, ++bound_, bytes, text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}

void Statement::reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  bound_ = 0;
}

bool Statement::step() {
  const int result = sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  reset();
  if (result != SQLITE_DONE) database_.fail(result);
  return false;
}

void Statement::run() {
  while (step()) {
  }
}

std::uint64_t Statement::integer(int column) const {
  return static_cast<std::uint64_t>(sqlite3_column_int64(statement_, column));
}

double Statement::real(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::numeric_limits<double>::quiet_NaN();
  return sqlite3_column_double(statement_, column);
}

std::string Statement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return bytes ? std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))) : std::string();
}

Database::Database(std::string path) : path_(std::move(path)) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
  const int result = sqlite3_open_v2(path_.c_str(), &handle_, flags, nullptr);
  if (result != SQLITE_OK) {
    // The handle carries the message; fail() throws past the destructor.
    const std::unique_ptr<sqlite3, decltype(&sqlite3_close)> closes(handle_, sqlite3_close);
    fail(result);
  }
  sqlite3_extended_result_codes(handle_, 1);
  sqlite3_busy_timeout(handle_, kBusyTimeoutMs);
}

Database::~Database() { sqlite3_close_v2(handle_); }

void Database::execute(const char* sql) {
  const int result = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) fail(result);
}

std::string Database::pragma_text(const char* name) {
  Statement statement(*this, (std::string("PRAGMA ") + name).c_str());
  return statement.step() ? statement.text(0) : std::string();
}

std::uint64_t Database::pragma(const char* name) {
  Statement statement(*this, (std::string("PRAGMA ") + name).c_str());
  return statement.step() ? statement.integer(0) : 0;
}

std::uint64_t Database::last_id() const { return static_cast<std::uint64_t>(sqlite3_last_insert_rowid(handle_)); }

void Database::fail(int result, const char* says) const {
  if (!says) says = handle_ ? sqlite3_errmsg(handle_) : sqlite3_errstr(result);
  const std::string text = std::string("the state database: ") + says;
  switch (result & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      throw Error(Code::corrupt, text, path_,
                  "stop mld, move the file and those named -wal and -shm beside it away, or put a copy of them back; "
                  "without them mld forgets jobs, aliases and usage, and keeps models");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw Error(Code::again, text, path_, "another mld uses this state directory; stop it, or give --state another");
    case SQLITE_FULL: throw Error(Code::no_space, text, path_, "free space in the file system of the state directory");
    case SQLITE_NOMEM: throw Error(Code::out_of_memory, text, path_);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: throw Error(Code::io, text, path_, "mld needs to read and write this file and its folder");
    case SQLITE_IOERR:
      throw Error(Code::io, std::string(text) + ", system error " + std::to_string(sqlite3_system_errno(handle_)),
                  path_, "look into the kernel's log for the disk's errors");
    default: throw Error(Code::internal, text, path_);
  }
}

Transaction::~Transaction() {
  // SQLite rolls back by itself after some errors; then there is nothing left to do here.
  if (database_ && !sqlite3_get_autocommit(database_->handle()))
    sqlite3_exec(database_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  database_->execute("COMMIT");
  database_ = nullptr;
}

}  // namespace ml::daemon
