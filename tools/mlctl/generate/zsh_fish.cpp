// Completion for zsh and fish.
#include "tools/mlctl/generate/completion_words.h"
#include "tools/mlctl/generate/generate.h"

namespace ml::ctl {
namespace {

// Inside single quotes, of either shell: zsh ends and begins them again, fish escapes.
std::string zsh_text(std::string_view text, std::string_view escaped) {
  std::string out;
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else if (escaped.find(c) != std::string_view::npos)
      out += std::string("\\") + c;
    else
      out += c;
  }
  return out;
}
std::string fish_text(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return out;
}

std::string zsh_action(Takes takes) {
  if (const std::string_view kind = asked_kind(takes); !kind.empty()) return "_mlctl_names " + std::string(kind);
  if (takes == Takes::file) return "_files";
  if (takes == Takes::directory) return "_files -/";
  if (const std::string_view words = fixed_words(takes); !words.empty()) return "(" + std::string(words) + ")";
  return " ";
}

// "'(-o --format)'{-o,--format}'[help]:FORM:(table wide)'"
std::string zsh_option(const Option& option) {
  const std::string name(option.name);
  std::string tail = "[" + zsh_text(option.help, "[]:\\") + "]";
  const bool optional = !option.implied.empty();
  if (!option.value.empty())
    tail += (optional ? "::" : ":") + zsh_text(option.value, ":[]") + ':' + zsh_action(option.takes);
  const std::string sign = optional ? "=-" : "";
  const std::string many = option.many ? "*" : "";
  if (option.letter == 0) return "'" + many + name + sign + tail + "'";
  const std::string letter = std::string("-") + option.letter;
  const std::string excluded = option.many ? "'*'" : "'(" + letter + ' ' + name + ")'";
  return excluded + "{" + letter + ',' + name + sign + "}'" + tail + "'";
}

std::string zsh_function(std::string_view path) {
  std::string out = "_mlctl";
  for (const char c : path) out += c == ' ' ? '_' : c;
  return path.empty() ? out : out + "_command";
}

std::string zsh_group(const Group& group) {
  std::string out = (group.name.empty() ? "_mlctl" : zsh_function(group.name)) + "() {\n";
  out += "  local context state state_descr line\n  typeset -A opt_args\n  local -a verbs\n  verbs=(\n";
  for (const Command& command : commands())
    if (command.listed == Listed::yes && group_of(command) == group.name)
      out += "    '" + std::string(verb_of(command)) + ":" + zsh_text(command.summary, ":") + "'\n";
  if (group.name.empty())
    for (const Group& other : groups())
      if (!other.name.empty()) out += "    '" + std::string(other.name) + ":" + zsh_text(other.summary, ":") + "'\n";
  out +=
      "  )\n  _arguments -C $_mlctl_options '1: :->verb' '*:: :->rest'\n  case $state in\n"
      "    verb) _describe command verbs ;;\n    rest)\n      case $words[1] in\n";
  for (const Command& command : commands())
    if (command.listed == Listed::yes && group_of(command) == group.name)
      out += "        " + std::string(verb_of(command)) + ") " + zsh_function(command.path) + " ;;\n";
  if (group.name.empty())
    for (const Group& other : groups())
      if (!other.name.empty()) out += "        " + std::string(other.name) + ") " + zsh_function(other.name) + " ;;\n";
  return out + "      esac\n      ;;\n  esac\n}\n";
}

}  // namespace

std::string zsh_completion() {
  std::string out =
      "#compdef mlctl\n# zsh completion for mlctl; made from its command table\n"
      "_mlctl_names() {\n"
      "  local -a names\n"
      "  names=(${(f)\"$(timeout 0.2 mlctl __complete $1 2>/dev/null)\"})\n"
      "  compadd -a names\n"
      "}\n"
      "typeset -ga _mlctl_options\n_mlctl_options=(\n";
  for (const Option& option : global_options()) out += "  " + zsh_option(option) + '\n';
  out += ")\n";
  for (const Command& command : commands()) {
    if (command.listed == Listed::hidden) continue;
    out += zsh_function(command.path) + "() {\n  _arguments $_mlctl_options";
    for (const Option& option : command.options) out += " \\\n    " + zsh_option(option);
    for (std::size_t i = 0; i < command.arguments.size(); ++i) {
      const Argument& argument = command.arguments[i];
      const std::string place = argument.many ? "*" : std::to_string(i + 1);
      out += " \\\n    '" + place + (argument.required || argument.many ? ":" : "::") + std::string(argument.name) +
             ':' + zsh_action(argument.takes) + "'";
    }
    out += "\n}\n";
  }
  for (const Group& group : groups())
    if (!group.name.empty()) out += zsh_group(group);
  out += zsh_group(groups().front());
  // Found as a function file it is called; sourced, it registers itself.
  return out + "if [[ $funcstack[1] == _mlctl ]]; then\n  _mlctl \"$@\"\nelse\n  compdef _mlctl mlctl\nfi\n";
}

std::string fish_completion() {
  std::string paths;
  for (const Group& group : groups())
    if (!group.name.empty()) paths += " '" + std::string(group.name) + "'";
  for (const Command& command : commands())
    if (command.listed == Listed::yes) paths += " '" + std::string(command.path) + "'";
  std::string out =
      "# fish completion for mlctl; made from its command table\n"
      "function __mlctl_path\n"
      "  set -l path\n"
      "  for word in (commandline -opc)[2..-1]\n"
      "    set -l longer (string join ' ' $path $word)\n"
      "    contains -- $longer" +
      paths +
      "; and set path $path $word\n"
      "  end\n"
      "  string join ' ' $path\n"
      "end\n"
      "function __mlctl_at\n"
      "  test (__mlctl_path | string collect --allow-empty) = \"$argv\"\n"
      "end\n"
      "function __mlctl_names\n"
      "  timeout 0.2 mlctl __complete $argv 2>/dev/null\n"
      "end\n"
      "complete -c mlctl -f\n";
  const auto values = [](Takes takes) {
    if (const std::string_view kind = asked_kind(takes); !kind.empty())
      return " -x -a '(__mlctl_names " + std::string(kind) + ")'";
    if (takes == Takes::directory) return std::string(" -x -a '(__fish_complete_directories)'");
    if (takes == Takes::file) return std::string(" -r -F");
    return " -x -a '" + std::string(fixed_words(takes)) + "'";
  };
  const auto option_line = [&](const std::string& when, const Option& option) {
    std::string line = "complete -c mlctl" + when;
    if (option.letter != 0) line += std::string(" -s ") + option.letter;
    line += " -l " + std::string(option.name.substr(2));
    if (!option.value.empty() && option.implied.empty()) line += values(option.takes);
    return line + " -d '" + fish_text(option.help) + "'\n";
  };
  for (const Option& option : global_options()) out += option_line("", option);
  for (const Group& group : groups())
    if (!group.name.empty())
      out += "complete -c mlctl -n '__mlctl_at' -a " + std::string(group.name) + " -d '" + fish_text(group.summary) +
             "'\n";
  for (const Command& command : commands()) {
    if (command.listed == Listed::hidden) continue;
    out += "complete -c mlctl -n '__mlctl_at " + std::string(group_of(command)) + "' -a " +
           std::string(verb_of(command)) + " -d '" + fish_text(command.summary) + "'\n";
    const std::string when = " -n '__mlctl_at " + std::string(command.path) + "'";
    for (const Option& option : command.options) out += option_line(when, option);
    for (const Argument& argument : command.arguments) {
      const Takes takes = argument.takes;
      out += "complete -c mlctl" + when + (takes == Takes::file ? " -F" : values(takes)) + '\n';
    }
  }
  return out;
}

}  // namespace ml::ctl
