// The command table as a CLI11 parser.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <CLI/CLI.hpp>

#include "tools/mlctl/failure.h"
#include "tools/mlctl/table/help.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

using Values = std::map<std::string, std::vector<std::string>>;

template <class Number>
bool reads_as(const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if constexpr (std::is_floating_point_v<Number>)
    if (!std::isfinite(number)) return false;
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// What CLI11 wants of a check: empty when it is fine.
std::string check(Takes takes, const std::string& text) {
  const auto wants = [&](const char* what) { return "'" + text + "' is not " + what; };
  switch (takes) {
    case Takes::count:
    case Takes::job:
    case Takes::client: return reads_as<std::uint64_t>(text) ? "" : wants("a whole number");
    case Takes::integer: return reads_as<std::int64_t>(text) ? "" : wants("a whole number");
    case Takes::number: return reads_as<double>(text) ? "" : wants("a number");
    case Takes::duration:
      try {
        parse_duration(text);
        return "";
      } catch (const Failure& failure) {
        return failure.message;
      }
    case Takes::format: return format_named(text) ? "" : wants("one of table, wide, json, yaml, name");
    case Takes::shell: return text == "bash" || text == "zsh" || text == "fish" ? "" : wants("one of bash, zsh, fish");
    case Takes::file:
    case Takes::directory: return text.empty() ? "an empty text is no path" : "";
    default:
      if (!is_utf8(text)) return "it is no UTF-8";  // mld takes no other names
      return text.empty() ? "an empty text is no name" : "";
  }
}

CLI::Validator validator_of(Takes takes) {
  return {[takes](std::string& text) { return check(takes, text); }, std::string()};
}

void add_option(CLI::App& app, const Option& option, Values& values) {
  std::string names(option.name);
  if (option.letter != 0) names += std::string(",-") + option.letter;
  auto& found = values[std::string(option.name)];
  CLI::Option* added = nullptr;
  if (option.value.empty()) {
    added = app.add_flag_function(names, [&found](std::int64_t) { found.assign(1, "true"); });
  } else if (!option.implied.empty()) {
    // As a flag that takes "=value", or the word behind it would be taken for the value.
    const std::string preset = '{' + std::string(option.implied) + '}';
    std::string with_preset(option.name);
    with_preset += preset;
    if (option.letter != 0) with_preset += std::string(",-") + option.letter + preset;
    added = app.add_flag(with_preset, found)->check(validator_of(option.takes));
  } else {
    added = app.add_option(names, found)->allow_extra_args(false)->check(validator_of(option.takes));
  }
  if (!option.value.empty()) added->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void add_command(CLI::App& app, const Command& command, Values& values) {
  for (const Argument& argument : command.arguments) {
    auto* added = app.add_option(std::string(argument.name), values[std::string(argument.name)])
                      ->check(validator_of(argument.takes));
    if (!argument.many) added->expected(1)->allow_extra_args(false);
    if (argument.required) added->required();
  }
  for (const Option& option : command.options) add_option(app, option, values);
}

// The option that a word such as "--socket", "--socket=PATH" or "-s" names.
const Option* option_named(std::string_view word, const Command* command) {
  const std::string_view name = word.substr(0, word.find('='));
  const auto among = [&](std::span<const Option> options) -> const Option* {
    for (const Option& option : options)
      if (name == option.name || (option.letter != 0 && !word.starts_with("--") && word[1] == option.letter))
        return &option;
    return nullptr;
  };
  const Option* own = command == nullptr ? nullptr : among(command->options);
  return own != nullptr ? own : among(global_options());
}

bool is_option(std::string_view word) { return word.size() > 1 && word.front() == '-' && word != "--"; }

// The value of "--socket" and "-s" is the next word; that of "--socket=PATH" and "-sPATH" is not.
bool takes_next_word(std::string_view word, const Command* command) {
  const Option* option = option_named(word, command);
  const bool alone = word.starts_with("--") ? word.find('=') == std::string_view::npos : word.size() == 2;
  return option != nullptr && alone && !option->value.empty() && option->implied.empty();
}

// The words that are options, without the values of others.
std::vector<std::string_view> options_in(std::span<const std::string> arguments, const Command* command) {
  std::vector<std::string_view> found;
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    if (!is_option(arguments[i])) continue;
    found.emplace_back(arguments[i]);
    if (takes_next_word(arguments[i], command)) ++i;
  }
  return found;
}

// The words of the command line that name a command, and the first one in their place that does not.
std::string path_in(std::span<const std::string> arguments, std::string_view& unknown) {
  std::string path;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (is_option(word)) {
      if (takes_next_word(word, nullptr)) ++i;
      continue;
    }
    const std::string longer = path.empty() ? word : path + ' ' + word;
    const bool group = std::any_of(groups().begin(), groups().end(), [&](const Group& g) { return g.name == longer; });
    if (!group && find_command(longer) == nullptr) {
      unknown = word;
      break;
    }
    path = longer;
    if (!group) break;
  }
  return path;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

// The word among those that could stand there that looks most like it; empty when none does.
std::string near_to(std::string_view word, std::string_view path) {
  std::vector<std::string_view> candidates;
  if (word.starts_with("-")) {
    for (const Option& option : global_options()) candidates.push_back(option.name);
    if (const Command* command = find_command(path))
      for (const Option& option : command->options) candidates.push_back(option.name);
  } else {
    for (const Command& command : commands()) {
      if (command.listed == Listed::hidden) continue;
      const std::string_view group = group_of(command);
      if (path.empty()) candidates.push_back(group.empty() ? command.path : group);
      if (!path.empty() && group == path) candidates.push_back(verb_of(command));
    }
  }
  std::string_view nearest;
  std::size_t distance = word.size() / 3 + 2;
  for (const std::string_view candidate : candidates) {
    const std::size_t edits = edit_distance(word, candidate);
    if (edits < distance) {
      distance = edits;
      nearest = candidate;
    }
  }
  return std::string(nearest);
}

Failure usage_error(const std::string& message, const std::string& path, const std::string& near = {}) {
  const std::string help = "mlctl " + (path.empty() ? "" : path + ' ') + "--help";
  return {Exit::usage, message, near.empty() ? "see `" + help + "`" : "did you mean '" + near + "'? See `" + help + "`",
          "MLE-0001"};
}

// "'--colour' is not an option of `mlctl status`"
Failure unexpected(const std::string& word, const std::string& path) {
  const bool is_command = !is_option(word) && find_command(path) == nullptr;
  const std::string of = path.empty() ? "mlctl" : "`mlctl " + path + "`";
  const std::string what = is_option(word) ? "'" + word + "' is not an option of " + of
                           : is_command    ? "'" + word + "' is not a command of " + of
                                           : of + " takes no further argument: '" + word + "'";
  return usage_error(what, path, near_to(word, path));
}

}  // namespace

std::chrono::nanoseconds parse_duration(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 7> units{
      {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}}};
  const auto wrong = [&] {
    return Failure(Exit::usage, "'" + std::string(text) + "' is not a time such as 500ms, 90s, 1h30m or 2d",
                   "a bare number is in seconds", "MLE-0001");
  };
  double total = 0;
  std::string_view rest = text;
  if (rest.empty()) throw wrong();
  while (!rest.empty()) {
    double value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value, std::chars_format::fixed);
    if (error != std::errc() || !std::isfinite(value) || value < 0 || rest.front() == '-') throw wrong();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    std::size_t length = 0;
    while (length < rest.size() && rest[length] >= 'a' && rest[length] <= 'z') ++length;
    const std::string_view name = rest.substr(0, length);
    const bool bare = name.empty() && rest.empty() && total == 0;
    const auto* const unit = std::find_if(units.begin(), units.end(), [&](const auto& u) { return u.first == name; });
    if (!bare && unit == units.end()) throw wrong();
    total += value * (bare ? 1e9 : unit->second);
    rest.remove_prefix(length);
  }
  if (total > 3650 * 86400e9) {  // so that times which are added to the clock stay within its range
    throw Failure(Exit::usage, "'" + std::string(text) + "' is more than ten years", "give a shorter time", "MLE-0001");
  }
  return std::chrono::nanoseconds(static_cast<std::int64_t>(total));
}

Parsed parse(std::span<const std::string> arguments) {
  Values values;
  CLI::App app;
  app.set_help_flag();
  app.require_subcommand(0, 1);
  for (const Option& option : global_options()) add_option(app, option, values);
  std::map<std::string_view, CLI::App*> group_apps{{"", &app}};
  std::map<const CLI::App*, const Command*> made;
  std::map<std::string, Values> by_command;  // commands have options of the same name
  for (const Group& group : groups()) {
    if (group.name.empty()) continue;
    CLI::App* const made_group = app.add_subcommand(std::string(group.name));
    made_group->set_help_flag();
    made_group->fallthrough();
    made_group->require_subcommand(0, 1);
    group_apps[group.name] = made_group;
  }
  for (const Command& command : commands()) {
    CLI::App* const sub = group_apps.at(group_of(command))->add_subcommand(std::string(verb_of(command)));
    sub->set_help_flag();
    sub->fallthrough();
    add_command(*sub, command, by_command[std::string(command.path)]);
    made[sub] = &command;
  }

  std::string_view unknown;
  const std::string path = path_in(arguments, unknown);
  const Command* const named = find_command(path);
  const std::vector<std::string_view> options = options_in(arguments, named);
  for (const std::string_view word : options)
    if (option_named(word, named) == nullptr) throw unexpected(std::string(word), path);
  const auto asks_for = [&](std::string_view name) {
    return std::any_of(options.begin(), options.end(),
                       [&](std::string_view word) { return option_named(word, named)->name == name; });
  };
  if (asks_for("--help") && unknown.empty()) return {std::nullopt, help(path)};
  if (asks_for("--version")) return {std::nullopt, version_text()};

  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ExtrasError&) {
    const std::vector<std::string> extras = app.remaining(true);
    throw unexpected(extras.empty() ? "" : extras.front(), path);
  } catch (const CLI::RequiredError& error) {
    throw usage_error("missing: " + std::string(error.what()), path);
  } catch (const CLI::ParseError& error) {
    throw usage_error(error.what(), path);
  }

  const Command* command = nullptr;
  for (const auto& [sub, candidate] : made)
    if (sub->parsed()) command = candidate;
  if (command == nullptr) {
    throw Failure(Exit::usage, path.empty() ? "no command given" : "`mlctl " + path + "` needs a command",
                  "see `mlctl " + (path.empty() ? "" : path + ' ') + "--help`", "MLE-0001");
  }
  for (auto& [name, found] : by_command.at(std::string(command->path))) values[name] = std::move(found);
  std::erase_if(values, [](const auto& entry) { return entry.second.empty(); });
  for (const auto& [name, found] : values) {
    const Option* const option = name.starts_with("-") ? option_named(name, command) : nullptr;
    if (option != nullptr && !option->many && found.size() > 1)
      throw usage_error(name + " is given " + std::to_string(found.size()) + " times", path);
  }
  if (values.contains("--watch") && !command->watchable)
    throw usage_error("`mlctl " + path + "` cannot be watched: --watch", path);
  if (values.contains("--format") && command->shows == nullptr)
    throw usage_error("`mlctl " + path + "` prints plain text: --format (-o) does not apply", path);
  return {Invocation(*command, std::move(values)), {}};
}

}  // namespace ml::ctl
