#include "tools/mlctl/table/invocation.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace ml::ctl {
namespace {

const Option* find_option(const Command& command, std::string_view name) {
  for (const Option& option : command.options)
    if (option.name == name) return &option;
  for (const Option& option : global_options())
    if (option.name == name) return &option;
  return nullptr;
}

template <class Number>
Number number_in(const std::string& text) {
  Number number{};
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

bool colour_wanted(int file) {
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  if (no_color != nullptr && *no_color != 0) return false;
  return isatty(file) != 0 && (terminal == nullptr || std::string_view(terminal) != "dumb");
}

}  // namespace

Invocation::Invocation(const Command& command, std::map<std::string, std::vector<std::string>> values)
    : command_(&command), values_(std::move(values)) {
  style_.format = *format_named(text("--format"));
  style_.colour = !has("--no-color") && colour_wanted(STDOUT_FILENO);
  style_.one_line = has("--watch");
}

bool Invocation::has(std::string_view name) const { return values_.contains(std::string(name)); }

std::string Invocation::text(std::string_view name) const {
  const auto found = values_.find(std::string(name));
  if (found != values_.end()) return found->second.front();
  const Option* option = find_option(*command_, name);
  return option != nullptr ? std::string(option->preset) : std::string();
}

std::span<const std::string> Invocation::texts(std::string_view name) const {
  const auto found = values_.find(std::string(name));
  return found == values_.end() ? std::span<const std::string>() : found->second;
}

std::uint64_t Invocation::count(std::string_view name) const { return number_in<std::uint64_t>(text(name)); }
std::int64_t Invocation::integer(std::string_view name) const { return number_in<std::int64_t>(text(name)); }
double Invocation::number(std::string_view name) const { return number_in<double>(text(name)); }
std::chrono::nanoseconds Invocation::duration(std::string_view name) const { return parse_duration(text(name)); }

std::optional<std::chrono::nanoseconds> Invocation::watch() const {
  if (!has("--watch")) return std::nullopt;
  constexpr double kLeast = 0.1, kMost = 86400;
  return std::chrono::nanoseconds(static_cast<std::int64_t>(std::clamp(number("--watch"), kLeast, kMost) * 1e9));
}

void Invocation::show(const Kind& kind, const std::vector<Row>& rows) const {
  Style style = style_;
  style.now = realtime_ns();
  const bool people = style.format == Format::table || style.format == Format::wide;
  if (rows.empty() && people)
    remark("no " + std::string(kind.plural));
  else
    write_out(render(kind, rows, style));
}

void Invocation::show(const Kind& kind, const Row& row) const {
  Style style = style_;
  style.now = realtime_ns();
  write_out(render(kind, row, style));
}

void Invocation::remark(std::string_view text) const { write_error(std::string(text) + '\n'); }

void Invocation::detail(std::string_view text) const {
  if (verbose()) remark(text);
}

std::uint64_t realtime_ns() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
}

}  // namespace ml::ctl
