// SQLite as the store uses it: one connection, prepared statements, every refusal an ml::Error that names the file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace ml::daemon {

class Database;

// A prepared statement. Use: bind in order, then run() once or step() until it answers false. Either leaves it reset
// and ready to be bound again.
class Statement {
 public:
  Statement(Database& database, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;

  Statement& bind(std::uint64_t value);
  Statement& bind(std::int64_t value);
  Statement& bind(double value);  // NaN is stored as NULL, which real() answers as NaN
  Statement& bind(std::string_view text);
  void run();
  bool step();  // true: there is a row

  std::uint64_t integer(int column) const;  // all 64 bits
  double real(int column) const;
  std::string text(int column) const;

 private:
  void reset();
  Statement& bound(int result);
  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

class Database {
 public:
  explicit Database(std::string path);
  ~Database();
  Database(const Database&) = delete;

  void execute(const char* sql);  // several statements; no rows
  std::uint64_t pragma(const char* name);
  std::string pragma_text(const char* name);
  std::uint64_t last_id() const;
  sqlite3* handle() const { return handle_; }
  const std::string& path() const { return path_; }
  // Throws what `result` means; `says` instead of SQLite's own words.
  [[noreturn]] void fail(int result, const char* says = nullptr) const;

 private:
  std::string path_;
  sqlite3* handle_ = nullptr;
};

// BEGIN IMMEDIATE ... COMMIT; what is left without commit() is rolled back.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(&database) { database.execute("BEGIN IMMEDIATE"); }
  ~Transaction();
  Transaction(const Transaction&) = delete;
  void commit();

 private:
  Database* database_;
};

}  // namespace ml::daemon
