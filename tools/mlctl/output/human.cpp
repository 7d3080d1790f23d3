#include "tools/mlctl/output/human.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace ml::ctl {
namespace {

std::string formatted(const char* format, double value, std::string_view unit) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  std::string out(text);
  return unit.empty() ? out : out + ' ' + std::string(unit);
}

// 1.5, 1, 32, 850: one decimal below ten, unless it is zero.
std::string three_digits(double value, std::string_view unit) {
  std::string digits = formatted(value >= 9.95 ? "%.0f" : "%.1f", value, {});
  if (digits.ends_with(".0")) digits.resize(digits.size() - 2);
  return digits + ' ' + std::string(unit);
}

std::string two_units(std::uint64_t large, const char* large_unit, std::uint64_t small, const char* small_unit) {
  std::string out = std::to_string(large) + large_unit;
  return small == 0 ? out : out + ' ' + std::to_string(small) + small_unit;
}

std::string list_cell(const List& list, Unit unit, std::uint64_t now) {
  const Unit element = unit == Unit::words ? Unit::text : unit == Unit::counts ? Unit::integer : Unit::number;
  std::string out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    // 0, 1, 2, 3 is 0-3.
    std::size_t last = i;
    if (unit == Unit::counts)
      while (last + 1 < list.size() && list[last + 1].number() == list[last].number() + 1) ++last;
    if (!out.empty()) out += ',';
    out += human_cell(list[i], element, now);
    if (last > i + 1) {
      out += '-' + human_cell(list[last], element, now);
      i = last;
    }
  }
  return out.empty() ? "-" : out;
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 6> units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 1023.6 KiB would be shown as 1024 KiB.
  while (value >= 1023.5 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return three_digits(value, units[unit]);
}

std::string human_duration(std::uint64_t ns) {
  const auto value = static_cast<double>(ns);
  if (ns < 1'000) return std::to_string(ns) + " ns";
  if (value < 999.5e3) return three_digits(value / 1e3, "us");
  if (value < 999.5e6) return three_digits(value / 1e6, "ms");
  if (value < 59.95e9) return three_digits(value / 1e9, "s");
  const std::uint64_t seconds = (ns + 500'000'000) / 1'000'000'000;
  if (seconds < 3600) return two_units(seconds / 60, "m", seconds % 60, "s");
  if (seconds < 86400) return two_units(seconds / 3600, "h", seconds % 3600 / 60, "m");
  return two_units(seconds / 86400, "d", seconds % 86400 / 3600, "h");
}

std::string human_number(double value) { return formatted("%.4g", value, {}); }

std::string human_count(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F control terminals too; in UTF-8 they are 0xc2 0x80 to 0xc2 0x9f.
    const bool c1 = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (byte >= 0x20 && byte != 0x7f && !c1) {
      out += text[i];
      continue;
    }
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\x%02x", c1 ? static_cast<unsigned char>(text[++i]) : byte);
    out += escaped;
  }
  return out;
}

std::string printable_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("\n\t\r"), text.size());
    out += printable(text.substr(0, end));
    if (end < text.size()) out += text[end];
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string human_cell(const Value& value, Unit unit, std::uint64_t now) {
  if (value.is_null()) return "-";
  if (const auto* truth = value.as<bool>()) return *truth ? "yes" : "no";
  if (const auto* list = value.as<List>()) return list_cell(*list, unit, now);
  if (const auto* text = value.as<std::string>()) return text->empty() ? "-" : printable(*text);
  const double number = value.number();
  const auto* natural = value.as<std::uint64_t>();
  const std::uint64_t whole = natural != nullptr ? *natural : static_cast<std::uint64_t>(std::max(number, 0.0));
  switch (unit) {
    case Unit::bytes: return human_bytes(whole);
    case Unit::duration: return human_duration(whole);
    case Unit::time: return now >= whole ? human_duration(now - whole) + " ago" : "in " + human_duration(whole - now);
    case Unit::fraction: return formatted("%.1f", number * 100, "%");
    case Unit::count: return std::to_string(whole);
    case Unit::number:
    case Unit::numbers: return human_number(number);
    default: return formatted("%.0f", number, {});
  }
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xc0U) != 0x80 ? 1 : 0;
  return width;
}

}  // namespace ml::ctl
