// Completion scripts. Each finds out which command is being written, offers its options and arguments, and asks
// `mlctl __complete` for names.
#include <algorithm>

#include "tools/mlctl/generate/completion_words.h"
#include "tools/mlctl/generate/generate.h"
#include "tools/mlctl/table/command.h"

namespace ml::ctl {
namespace {

constexpr std::string_view kBashHead = R"(# bash completion for mlctl; made from its command table
_mlctl_names() {
  local known
  known=$(timeout 0.2 "$mlctl" "${socket[@]}" __complete "$1" 2>/dev/null)
  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$known" -- "$cur")
}
_mlctl_words() {
  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$1" -- "$cur")
}
_mlctl_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen "$1" -- "$cur")
}
_mlctl() {
  # Words as the program will see them: bash also splits at ':', '=' and '@', which are part of names here.
  local line=${COMP_LINE:0:COMP_POINT} mlctl=${COMP_WORDS[0]} cur='' path='' prev='' word cut break
  local -a words socket=()
  read -ra words <<<"$line"
  if [[ $line != *[[:space:]] ]]; then
    cur=${words[-1]}
    unset 'words[-1]'
  fi
  local -i skip=0
  COMPREPLY=()
  for word in "${words[@]:1}"; do
    if [[ $skip -eq 1 ]]; then
      skip=0
      case $prev in -s | --socket) socket=(--socket "$word") ;; esac
      prev=''
      continue
    fi
    prev=''
    case $word in
      --socket=*) socket=("$word") ;;
      -*)
        if _mlctl_takes_value "$path" "$word"; then
          skip=1
          prev=$word
        fi
        ;;
      *) _mlctl_is_command "${path:+$path }$word" && path=${path:+$path }$word ;;
    esac
  done
  if [[ $cur == --*=* ]]; then
    prev=${cur%%=*}
    cur=${cur#*=}
  fi
  _mlctl_complete "$path" "$prev"
  for break in : = @; do
    [[ $COMP_WORDBREAKS == *"$break"* && $cur == *"$break"* ]] || continue
    cut=${cur%"${cur##*"$break"}"}
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    cur=${cur#"$cut"}
  done
}
)";

std::string bash_action(Takes takes) {
  if (const std::string_view kind = asked_kind(takes); !kind.empty()) return "_mlctl_names " + std::string(kind);
  if (takes == Takes::file) return "_mlctl_files -f";
  if (takes == Takes::directory) return "_mlctl_files -d";
  if (const std::string_view words = fixed_words(takes); !words.empty())
    return "_mlctl_words '" + std::string(words) + "'";
  return ":";
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : std::string(between)) + word;
  return out;
}

// "-o | --format"
std::string bash_pattern(const Option& option) {
  const std::string name(option.name);
  return option.letter == 0 ? name : std::string("-") + option.letter + " | " + name;
}

std::string bash_option_words(const Command* command) {
  std::vector<std::string> words;
  if (command != nullptr)
    for (const Option& option : command->options) words.emplace_back(option.name);
  for (const Option& option : global_options()) words.emplace_back(option.name);
  return joined(words, " ");
}

}  // namespace

std::string_view asked_kind(Takes takes) {
  switch (takes) {
    case Takes::device: return "device";
    case Takes::model: return "model";
    case Takes::job: return "job";
    case Takes::client: return "client";
    case Takes::user: return "user";
    case Takes::code: return "code";
    default: return {};
  }
}

std::string_view fixed_words(Takes takes) {
  switch (takes) {
    case Takes::format: return "table wide json yaml name";
    case Takes::shell: return "bash zsh fish";
    default: return {};
  }
}

std::vector<std::string> command_words(std::string_view group) {
  std::vector<std::string> words;
  for (const Command& command : commands())
    if (command.listed == Listed::yes && group_of(command) == group) words.emplace_back(verb_of(command));
  if (group.empty())
    for (const Group& other : groups())
      if (!other.name.empty()) words.emplace_back(other.name);
  return words;
}

std::string bash_completion() {
  std::string out(kBashHead);
  std::vector<std::string> paths;
  for (const Group& group : groups())
    if (!group.name.empty()) paths.push_back('"' + std::string(group.name) + '"');
  for (const Command& command : commands())
    if (command.listed == Listed::yes) paths.push_back('"' + std::string(command.path) + '"');
  out += "_mlctl_is_command() {\n  case $1 in\n    " + joined(paths, " | ") + ") return 0 ;;\n  esac\n  return 1\n}\n";

  out += "_mlctl_takes_value() {\n  case $2 in\n";
  for (const Option& option : global_options())
    if (!option.value.empty() && option.implied.empty()) out += "    " + bash_pattern(option) + ") return 0 ;;\n";
  out += "  esac\n  case $1 in\n";
  for (const Command& command : commands()) {
    std::vector<std::string> patterns;
    for (const Option& option : command.options)
      if (!option.value.empty()) patterns.push_back(bash_pattern(option));
    if (command.listed == Listed::yes && !patterns.empty())
      out += "    \"" + std::string(command.path) + "\")\n      case $2 in " + joined(patterns, " | ") +
             ") return 0 ;; esac\n      ;;\n";
  }
  out += "  esac\n  return 1\n}\n";

  out += "_mlctl_complete() {\n  case $2 in\n";
  for (const Option& option : global_options())
    if (!option.value.empty())
      out += "    " + bash_pattern(option) + ")\n      " + bash_action(option.takes) + "\n      return\n      ;;\n";
  out += "  esac\n  case $1 in\n";
  for (const Group& group : groups()) {
    out += "    \"" + std::string(group.name) + "\")\n      if [[ $cur == -* ]]; then\n        _mlctl_words '" +
           bash_option_words(nullptr) + "'\n      else\n        _mlctl_words '" +
           joined(command_words(group.name), " ") + "'\n      fi\n      ;;\n";
  }
  for (const Command& command : commands()) {
    if (command.listed == Listed::hidden) continue;
    out += "    \"" + std::string(command.path) + "\")\n";
    std::string values;
    for (const Option& option : command.options)
      if (!option.value.empty())
        values += "        " + bash_pattern(option) + ")\n          " + bash_action(option.takes) +
                  "\n          return\n          ;;\n";
    if (!values.empty()) out += "      case $2 in\n" + values + "      esac\n";
    out += "      if [[ $cur == -* ]]; then\n        _mlctl_words '" + bash_option_words(&command) + "'\n";
    if (!command.arguments.empty()) out += "      else\n        " + bash_action(command.arguments.front().takes) + '\n';
    out += "      fi\n      ;;\n";
  }
  return out + "  esac\n}\ncomplete -F _mlctl mlctl\n";
}

std::string completion_script(std::string_view shell) {
  return shell == "bash" ? bash_completion() : shell == "zsh" ? zsh_completion() : fish_completion();
}

}  // namespace ml::ctl
