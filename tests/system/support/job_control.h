// A job as its owner follows it with mlctl.
#pragma once

#include <cstdint>
#include <string>

#include "tests/system/support/mlctl.h"

namespace ml::test {

class Job {
 public:
  // Submits the file.
  Job(const Daemon& daemon, const std::string& file, std::optional<User> user = {});

  const std::string& id() const { return id_; }
  std::string show() const;  // JSON
  std::string log() const;
  std::string state() const;                           // "running"
  std::uint64_t number(std::string_view field) const;  // of show()
  // Waits for a state; false when the job ended in another one, or never gets there.
  bool reaches(std::string_view state, Milliseconds within = 2 * kPatience) const;

 private:
  const Daemon& daemon_;
  std::optional<User> user_;
  std::string id_;
};

// What stands behind "field": in JSON, quotes taken away; empty when there is no such field.
std::string json_field(const std::string& json, std::string_view field);

}  // namespace ml::test
