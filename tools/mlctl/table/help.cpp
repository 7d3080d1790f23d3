#include "tools/mlctl/table/help.h"

#include <algorithm>
#include <vector>

#include "tools/mlctl/output/human.h"

namespace ml::ctl {
namespace {

struct Entry {
  std::string left, right;
};

// Two columns: what to write, and what it means, beside it or below.
std::string entries(std::string_view heading, const std::vector<Entry>& lines) {
  if (lines.empty()) return {};
  constexpr std::size_t kMost = 26;
  std::size_t width = 0;
  for (const Entry& entry : lines)
    if (entry.left.size() <= kMost) width = std::max(width, entry.left.size());
  std::string out = '\n' + std::string(heading) + ":\n";
  for (const Entry& entry : lines) {
    const std::string right = filled(entry.right, width + 4);
    if (entry.left.size() > kMost)
      out += "  " + entry.left + '\n' + right;
    else
      out += "  " + entry.left + std::string(width + 2 - entry.left.size(), ' ') + right.substr(width + 4);
  }
  return out;
}

std::vector<Entry> options_of(std::span<const Option> options) {
  std::vector<Entry> lines;
  for (const Option& option : options) lines.push_back({spelling(option), meaning(option)});
  return lines;
}

std::string exit_codes(const std::vector<Exit>& exits) {
  std::vector<Entry> lines;
  for (const Exit exit : exits)
    lines.push_back({std::to_string(static_cast<int>(exit)), std::string(exit_meaning(exit))});
  return entries("exit codes", lines);
}

std::string help_of(const Command& command) {
  std::string out = "usage: " + synopsis(command) + "\n\n" + filled(command.description, 0);
  std::vector<Entry> arguments;
  for (const Argument& argument : command.arguments)
    arguments.push_back({std::string(argument.name), std::string(argument.help)});
  out += entries("arguments", arguments);
  out += entries("options", options_of(command.options));
  out += entries("options of every command", options_of(global_options()));
  if (!command.examples.empty()) out += "\nexamples:\n";
  for (const Example& example : command.examples)
    out += "  " + std::string(example.command) + "\n      " + std::string(example.help) + '\n';
  std::vector<Exit> exits{Exit::ok, Exit::failure, Exit::usage};
  exits.insert(exits.end(), command.exits.begin(), command.exits.end());
  return out + exit_codes(exits);
}

std::string help_of(const Group& group) {
  std::string out = "usage: mlctl " + std::string(group.name) + " COMMAND\n\n" + filled(group.description, 0);
  std::vector<Entry> lines;
  for (const Command& command : commands())
    if (group_of(command) == group.name) lines.push_back({std::string(verb_of(command)), std::string(command.summary)});
  return out + entries("commands", lines) + "\nmlctl " + std::string(group.name) + " COMMAND --help says more.\n";
}

std::string help_of_all() {
  std::string out = "usage: mlctl COMMAND\n\nRuns mlaccel: devices, models, training jobs and clients of mld.\n";
  for (const Group& group : groups()) {
    std::vector<Entry> lines;
    for (const Command& command : commands())
      if (group_of(command) == group.name && command.listed == Listed::yes)
        lines.push_back({std::string(command.path), std::string(command.summary)});
    out += entries(group.summary, lines);
  }
  out += entries("options of every command", options_of(global_options()));
  std::vector<Exit> exits;
  for (int i = 0; i < kExits; ++i) exits.push_back(static_cast<Exit>(i));
  return out + exit_codes(exits) + "\nmlctl COMMAND --help says more; so does `man mlctl`.\n";
}

}  // namespace

std::string synopsis(const Command& command) {
  std::string out = "mlctl " + std::string(command.path);
  for (const Argument& argument : command.arguments) {
    const std::string name = std::string(argument.name) + (argument.many ? "..." : "");
    out += argument.required ? ' ' + name : " [" + name + ']';
  }
  for (const Option& option : command.options) {
    out += " [" + std::string(option.name);
    if (!option.value.empty()) out += ' ' + std::string(option.value);
    out += option.many ? "]..." : "]";
  }
  return out;
}

std::string spelling(const Option& option) {
  std::string out = option.letter != 0 ? std::string("-") + option.letter + ", " : "";
  out += option.name;
  if (!option.implied.empty()) return out + "[=" + std::string(option.value) + ']';
  return option.value.empty() ? out : out + ' ' + std::string(option.value);
}

std::string meaning(const Option& option) {
  std::string out(option.help);
  if (!option.preset.empty()) out += " Default: " + std::string(option.preset) + '.';
  if (!option.implied.empty()) out += " Without a value: " + std::string(option.implied) + '.';
  return out;
}

std::string filled(std::string_view text, std::size_t indent, std::size_t width) {
  std::string out, line(indent, ' ');
  std::size_t used = indent;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (used > indent && used + 1 + display_width(word) > width) {
      out += line + '\n';
      line.assign(indent, ' ');
      used = indent;
    }
    if (used > indent) {
      line += ' ';
      ++used;
    }
    line += word;
    used += display_width(word);
  }
  return used > indent ? out + line + '\n' : out;
}

std::string help(std::string_view path) {
  if (const Command* command = find_command(path)) return help_of(*command);
  for (const Group& group : groups())
    if (!path.empty() && group.name == path) return help_of(group);
  return help_of_all();
}

std::string version_text() { return "mlctl " ML_VERSION "\n"; }

}  // namespace ml::ctl
