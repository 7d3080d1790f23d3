// Man pages, docs/mlctl.md and the table as JSON.
#include "tools/mlctl/generate/generate.h"
#include "tools/mlctl/table/command.h"
#include "tools/mlctl/table/help.h"

namespace ml::ctl {
namespace {

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

// Text of a man page: no character of it is a request or an escape.
std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else if (c == '\'')
      out += "\\(aq";
    else if (c == '`')
      out += "\\(ga";
    else if (c == '~')
      out += "\\(ti";
    else if (c == '^')
      out += "\\(ha";
    else
      out += c;
  }
  return (!out.empty() && out.front() == '.' ? "\\&" : "") + out;
}

std::string roff_entry(const std::string& left, const std::string& right) {
  return ".TP\n\\fB" + roff(left) + "\\fR\n" + roff(right) + '\n';
}

std::string roff_options(std::span<const Option> options) {
  std::string out;
  for (const Option& option : options) out += roff_entry(spelling(option), meaning(option));
  return out;
}

std::string exits_text(const Command& command) {
  std::string out;
  for (const Exit exit : command.exits)
    out += (out.empty() ? "" : ", ") + std::to_string(static_cast<int>(exit)) + " (" + std::string(exit_meaning(exit)) +
           ')';
  return out;
}

std::string shows_text(const Command& command) {
  if (command.shows == nullptr) return {};
  const std::string name(command.shows->name);
  return "With -o json: " + (command.single ? "an object of docs/schemas/" + name + ".json."
                                            : "an array of docs/schemas/" + name + ".json.");
}

std::string roff_command(const Command& command) {
  std::string out = ".SS " + roff(synopsis(command)) + "\n.PP\n" + roff(command.description) + '\n';
  for (const Argument& argument : command.arguments)
    out += roff_entry(std::string(argument.name), std::string(argument.help));
  out += roff_options(command.options);
  if (const std::string shows = shows_text(command); !shows.empty()) out += ".PP\n" + roff(shows) + '\n';
  if (const std::string exits = exits_text(command); !exits.empty())
    out += ".PP\nExit codes besides 0, 1 and 2: " + roff(exits) + ".\n";
  for (const Example& example : command.examples)
    out += ".PP\n" + roff(upper(example.help.substr(0, 1))) + roff(example.help.substr(1)) + ":\n.PP\n.nf\n.RS 4\n" +
           roff(example.command) + "\n.RE\n.fi\n";
  return out;
}

std::string roff_exits() {
  std::string out = ".SH EXIT STATUS\n";
  for (int i = 0; i < kExits; ++i)
    out += roff_entry(std::to_string(i), std::string(exit_meaning(static_cast<Exit>(i))));
  return out;
}

std::string man_page(const Group& group) {
  const bool whole = group.name.empty();
  const std::string name = whole ? "mlctl" : "mlctl-" + std::string(group.name);
  std::string out = ".\\\" Made from mlctl's command table.\n.TH " + upper(name) +
                    " 1 \"\" \"mlaccel " ML_VERSION "\" \"mlaccel\"\n.SH NAME\n" + roff(name) + " \\- " +
                    roff(whole ? "runs mlaccel: devices, models, training jobs and clients of mld" : group.summary) +
                    "\n.SH SYNOPSIS\n.nh\n.na\n";
  for (const Command& command : commands())
    if (command.listed == Listed::yes && group_of(command) == group.name)
      out += ".HP\n" + roff(synopsis(command)) + '\n';
  if (whole)
    for (const Group& other : groups())
      if (!other.name.empty()) out += ".HP\n" + roff("mlctl " + std::string(other.name) + " COMMAND") + '\n';
  out += ".ad\n.hy\n.SH DESCRIPTION\n";
  if (whole) {
    out +=
        roff(
            "mlctl asks mld, the daemon that shares this machine's accelerators, and tells it what to do. Data go to "
            "stdout, everything else to stderr. Without --socket it speaks to the socket that $MLACCEL_ADMIN names; "
            "else to the user's own mld, $XDG_RUNTIME_DIR/mlaccel/admin.sock, if it runs; else to the machine's, "
            "/run/mlaccel/admin.sock.") +
        '\n';
  } else {
    out += roff(group.description) + '\n';
  }
  out += ".SH COMMANDS\n";
  for (const Command& command : commands())
    if (command.listed == Listed::yes && group_of(command) == group.name) out += roff_command(command);
  out += ".SH OPTIONS OF EVERY COMMAND\n" + roff_options(global_options()) + roff_exits();
  if (whole) {
    out += ".SH ENVIRONMENT\n" + roff_entry("MLACCEL_ADMIN", "mld's admin socket.") +
           roff_entry("XDG_RUNTIME_DIR", "Where the sockets of the user's own mld are.") +
           roff_entry("NO_COLOR", "No colour when it is set and not empty (https://no-color.org).");
  }
  out += ".SH SEE ALSO\n";
  std::string others;
  for (const Group& other : groups()) {
    const std::string title = other.name.empty() ? "mlctl" : "mlctl-" + std::string(other.name);
    if (title != name) others += (others.empty() ? "" : ",\n") + ("\\fB" + roff(title) + "\\fR(1)");
  }
  return out + others + '\n';
}

std::string markdown_cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? "\\|" : std::string(1, c);
  return out;
}

std::string markdown_command(const Command& command) {
  std::string out = "### mlctl " + std::string(command.path) + "\n\n" + filled(command.description, 0, 120) +
                    "\n```\n" + synopsis(command) + "\n```\n\n";
  if (!command.arguments.empty() || !command.options.empty()) {
    out += "| | |\n|---|---|\n";
    for (const Argument& argument : command.arguments)
      out += "| `" + std::string(argument.name) + "` | " + markdown_cell(argument.help) + " |\n";
    for (const Option& option : command.options)
      out += "| `" + spelling(option) + "` | " + markdown_cell(meaning(option)) + " |\n";
    out += '\n';
  }
  std::string notes = shows_text(command);
  if (const std::string exits = exits_text(command); !exits.empty())
    notes += (notes.empty() ? "" : " ") + ("Exit codes besides 0, 1 and 2: " + exits + '.');
  if (!notes.empty()) out += filled(notes, 0, 120) + '\n';
  if (!command.examples.empty()) {
    out += "```\n";
    for (const Example& example : command.examples)
      out += "# " + std::string(example.help) + '\n' + std::string(example.command) + '\n';
    out += "```\n\n";
  }
  return out;
}

List options_as_json(std::span<const Option> options) {
  List list;
  for (const Option& option : options) {
    list.emplace_back(Object{{"name", option.name},
                             {"letter", option.letter == 0 ? Value() : Value(std::string(1, option.letter))},
                             {"value", option.value.empty() ? Value() : Value(option.value)},
                             {"value_optional", !option.implied.empty()},
                             {"many", option.many}});
  }
  return list;
}

}  // namespace

Generated man_pages() {
  Generated pages;
  for (const Group& group : groups())
    pages.emplace_back(group.name.empty() ? "mlctl.1" : "mlctl-" + std::string(group.name) + ".1", man_page(group));
  return pages;
}

std::string reference() {
  std::string out =
      "# mlctl\n\n<!-- Made from mlctl's command table by `mlctl __generate docs docs`; a test holds it to it. "
      "-->\n\n" +
      filled(
          "The command line of mlaccel. It asks mld, or tells it what to do, over its admin socket. Data go to stdout, "
          "everything else to stderr; colour and progress only to a terminal. The same text is in `mlctl COMMAND "
          "--help` and in the man pages.",
          0, 120) +
      "\n## Options of every command\n\n| | |\n|---|---|\n";
  for (const Option& option : global_options())
    out += "| `" + spelling(option) + "` | " + markdown_cell(meaning(option)) + " |\n";
  out += '\n' +
         filled(
             "Without `--socket` mlctl speaks to the socket that `$MLACCEL_ADMIN` names; else to the user's own mld, "
             "`$XDG_RUNTIME_DIR/mlaccel/admin.sock`, if something listens there; else to the machine's, "
             "`/run/mlaccel/admin.sock`.",
             0, 120) +
         '\n' +
         filled(
             "JSON and YAML have every field, sizes in bytes, times in nanoseconds. Their form is stable: "
             "`docs/schemas` describes it, members are only added. With `--watch` each document is one line of JSON, "
             "or one YAML document.",
             0, 120) +
         "\n## Exit codes\n\n| | |\n|---|---|\n";
  for (int i = 0; i < kExits; ++i)
    out += "| " + std::to_string(i) + " | " + std::string(exit_meaning(static_cast<Exit>(i))) + " |\n";
  out += '\n' +
         filled(
             "An error is `error: what happened [MLE-0004]` on stderr, with a second line `hint: what to do`. `mlctl "
             "explain MLE-0004` says more about the code.",
             0, 120) +
         '\n';
  for (const Group& group : groups()) {
    out += "## " + (group.name.empty() ? "mld and this machine" : "mlctl " + std::string(group.name)) + "\n\n";
    if (!group.description.empty()) out += filled(group.description, 0, 120) + '\n';
    for (const Command& command : commands())
      if (command.listed == Listed::yes && group_of(command) == group.name) out += markdown_command(command);
  }
  while (out.ends_with("\n\n")) out.pop_back();
  return out;
}

std::string table_as_json() {
  List list;
  for (const Command& command : commands()) {
    if (command.listed == Listed::hidden) continue;
    List arguments, exits;
    for (const Argument& argument : command.arguments)
      arguments.emplace_back(Object{{"name", argument.name}, {"required", argument.required}, {"many", argument.many}});
    for (const Exit exit : command.exits) exits.emplace_back(static_cast<std::int64_t>(exit));
    list.emplace_back(Object{{"path", command.path},
                             {"shows", command.shows == nullptr ? Value() : Value(command.shows->name)},
                             {"single", command.single},
                             {"watchable", command.watchable},
                             {"arguments", std::move(arguments)},
                             {"options", options_as_json(command.options)},
                             {"exits", std::move(exits)}});
  }
  return to_json(Object{{"commands", std::move(list)}, {"options", options_as_json(global_options())}});
}

}  // namespace ml::ctl
