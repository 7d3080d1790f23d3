#include "tests/system/support/job_control.h"

#include <cstdlib>
#include <stdexcept>

namespace ml::test {

std::string json_field(const std::string& json, std::string_view field) {
  std::size_t at = json.find('"' + std::string(field) + '"');
  if (at == std::string::npos) return {};
  at = json.find_first_not_of(": \t\n", at + field.size() + 2);
  if (at == std::string::npos) return {};
  if (json[at] != '"') return json.substr(at, json.find_first_of(",}] \n", at) - at);
  std::string text;
  for (++at; at < json.size() && json[at] != '"'; ++at) {
    if (json[at] == '\\' && at + 1 < json.size()) ++at;
    text += json[at];
  }
  return text;
}

Job::Job(const Daemon& daemon, const std::string& file, std::optional<User> user)
    : daemon_(daemon), user_(std::move(user)), id_(mlctl_out(daemon, {"job", "submit", file, "-o", "name"}, user_)) {
  while (!id_.empty() && id_.back() == '\n') id_.pop_back();
}

std::string Job::show() const { return mlctl_out(daemon_, {"job", "show", id_, "-o", "json"}, user_); }
std::string Job::log() const { return mlctl_out(daemon_, {"job", "logs", id_}, user_); }
std::string Job::state() const { return json_field(show(), "state"); }

std::uint64_t Job::number(std::string_view field) const {
  return std::strtoull(json_field(show(), field).c_str(), nullptr, 10);
}

bool Job::reaches(std::string_view state, Milliseconds within) const {
  std::string now;
  const auto ended = [&] { return now == "done" || now == "failed" || now == "cancelled"; };
  eventually([&] { return (now = this->state()) == state || ended(); }, within);
  return now == state;
}

}  // namespace ml::test
