// The table of commands. The parser, --help, completions, man pages and docs/mlctl.md are all made from it.
#pragma once

#include <span>
#include <string_view>

#include "tools/mlctl/output/kind.h"

namespace ml::ctl {

class Invocation;

// What a value may be: it is checked, and completed, accordingly.
enum class Takes {
  text,
  file,
  directory,
  device,  // these six are completed by asking mld
  model,
  job,
  client,
  user,
  count,  // an integer, not negative
  integer,
  number,
  duration,  // "90s", "2h", "1h30m", "500ms"; a bare number: seconds
  code,
  format,
  shell,
};

struct Argument {
  std::string_view name;  // "DEVICE"
  std::string_view help;
  Takes takes = Takes::text;
  bool required = true;
  bool many = false;
};

struct Option {
  std::string_view name;   // "--device"
  std::string_view value;  // "DEVICE"; empty: a flag
  std::string_view help;
  Takes takes = Takes::text;
  char letter = 0;                // 'o' for -o
  bool many = false;              // may be given several times
  std::string_view preset = {};   // what holds when it is not given
  std::string_view implied = {};  // a value is optional, and this when it is left out: "--watch[=SECONDS]"
};

struct Example {
  std::string_view command;
  std::string_view help;
};

enum class Exit {
  ok = 0,
  failure = 1,
  usage = 2,
  not_running = 3,
  unknown_object = 4,
  denied = 5,
  conflict = 6,
  timeout = 7,
  partial = 8,
};

// Hidden commands serve completion and the build; they stand in no help.
enum class Listed { yes, hidden };

struct Command {
  std::string_view path;     // "model import"
  std::string_view summary;  // one line, no full stop
  std::string_view description;
  std::span<const Argument> arguments;
  std::span<const Option> options;
  std::span<const Example> examples;
  std::span<const Exit> exits;  // besides ok, failure and usage
  const Kind* shows;            // what it prints, in every -o form; null: plain text
  bool single;                  // one thing, not a list
  bool watchable;               // --watch
  Exit (*run)(const Invocation&);
  Listed listed = Listed::yes;
};

// Commands of one noun: "mlctl device ls". Those without one are in the group "".
struct Group {
  std::string_view name;
  std::string_view summary;
  std::string_view description;
};

std::span<const Command> commands();
std::span<const Group> groups();
std::span<const Option> global_options();

std::string_view exit_meaning(Exit exit);
inline constexpr int kExits = 9;

// "model" of "model import"; empty for "status".
std::string_view group_of(const Command& command);
std::string_view verb_of(const Command& command);
const Command* find_command(std::string_view path);
// "mlctl model import FILE [--name NAME] [--shared]", without the global options.
std::string synopsis(const Command& command);

}  // namespace ml::ctl
