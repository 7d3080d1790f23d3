// A command line that has been understood: the command, its values, and how to print.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/mlctl/output/printer.h"
#include "tools/mlctl/table/command.h"

namespace ml::ctl {

class Invocation {
 public:
  Invocation(const Command& command, std::map<std::string, std::vector<std::string>> values);

  const Command& command() const { return *command_; }
  bool has(std::string_view name) const;          // was given
  std::string text(std::string_view name) const;  // given, else preset, else empty
  std::span<const std::string> texts(std::string_view name) const;
  std::uint64_t count(std::string_view name) const;  // checked when it was parsed
  std::int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  std::chrono::nanoseconds duration(std::string_view name) const;

  const Style& style() const { return style_; }
  bool verbose() const { return has("--verbose"); }
  std::chrono::nanoseconds timeout() const { return duration("--timeout"); }
  std::optional<std::chrono::nanoseconds> watch() const;  // between two prints

  // Prints what the command is there to show.
  void show(const Kind& kind, const std::vector<Row>& rows) const;
  void show(const Kind& kind, const Row& row) const;
  // A remark for people, on stderr; `detail` only with --verbose.
  void remark(std::string_view text) const;
  void detail(std::string_view text) const;

 private:
  const Command* command_;
  std::map<std::string, std::vector<std::string>> values_;
  Style style_;
};

std::uint64_t realtime_ns();

// Throws Failure for what Takes::duration does not accept.
std::chrono::nanoseconds parse_duration(std::string_view text);

// Reads the command line (without the program's name). Throws Failure (usage). Answers no invocation when help or the
// version was asked for, which is then in `printed`.
struct Parsed {
  std::optional<Invocation> invocation;
  std::string printed;
};
Parsed parse(std::span<const std::string> arguments);

}  // namespace ml::ctl
