#include "tools/mlctl/output/printer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ml/error.h"
#include "tools/mlctl/output/human.h"

namespace ml::ctl {
namespace {

bool right_aligned(Unit unit) {
  switch (unit) {
    case Unit::count:
    case Unit::integer:
    case Unit::number:
    case Unit::fraction:
    case Unit::bytes:
    case Unit::duration: return true;
    default: return false;
  }
}

Object object_of(const Kind& kind, const Row& row) {
  Object object;
  for (std::size_t i = 0; i < kind.columns.size(); ++i)
    if (kind.columns[i].shown != Shown::people) object.emplace_back(kind.columns[i].key, row[i]);
  return object;
}

std::string name_of(const Kind& kind, const Row& row, const Style& style) {
  for (std::size_t i = 0; i < kind.columns.size(); ++i) {
    if (kind.columns[i].key != kind.key) continue;
    const auto* text = row[i].as<std::string>();
    return (text != nullptr ? printable(*text) : human_cell(row[i], kind.columns[i].unit, style.now)) + '\n';
  }
  return {};
}

std::string padded(std::string_view text, std::size_t width, bool right) {
  const std::size_t taken = display_width(text);
  const std::string space(width > taken ? width - taken : 0, ' ');
  return right ? space + std::string(text) : std::string(text) + space;
}

std::string table_of(const Kind& kind, const std::vector<Row>& rows, const Style& style) {
  std::vector<std::size_t> shown;
  for (std::size_t i = 0; i < kind.columns.size(); ++i) {
    const Shown where = kind.columns[i].shown;
    if (where == Shown::table || where == Shown::people || (where == Shown::wide && style.format == Format::wide))
      shown.push_back(i);
  }
  std::vector<std::vector<std::string>> cells(rows.size());
  std::vector<std::size_t> width;
  for (const std::size_t i : shown) width.push_back(display_width(kind.columns[i].title));
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t c = 0; c < shown.size(); ++c) {
      cells[r].push_back(human_cell(rows[r][shown[c]], kind.columns[shown[c]].unit, style.now));
      width[c] = std::max(width[c], display_width(cells[r][c]));
    }
  }
  std::string out;
  const auto line = [&](const auto& text_of, bool heading) {
    for (std::size_t c = 0; c < shown.size(); ++c) {
      const bool right = right_aligned(kind.columns[shown[c]].unit), last = c + 1 == shown.size();
      const std::string text(text_of(c));
      const std::string cell = last && !right ? text : padded(text, width[c], right);
      out += !style.colour ? cell : heading ? "\033[1m" + cell + "\033[0m" : coloured(text, cell);
      out += last ? "\n" : "  ";
    }
  };
  line([&](std::size_t c) { return kind.columns[shown[c]].title; }, true);
  for (const auto& row : cells) line([&](std::size_t c) { return std::string_view(row[c]); }, false);
  return out;
}

// "memory used:  1.5 GiB"
std::string fields_of(const Kind& kind, const Row& row, const Style& style) {
  const auto label = [](const Column& column) {
    std::string text(column.key);
    std::replace(text.begin(), text.end(), '_', ' ');
    for (const std::string_view unit : {" bytes", " ns", " at", " text"})
      if (const std::size_t at = text.find(unit); at != std::string::npos) text.erase(at, unit.size());
    return text;
  };
  std::size_t width = 0;
  for (const Column& column : kind.columns)
    if (column.shown != Shown::data) width = std::max(width, label(column).size());
  std::string out;
  for (std::size_t i = 0; i < kind.columns.size(); ++i) {
    const Column& column = kind.columns[i];
    if (column.shown == Shown::data) continue;
    const std::string cell = human_cell(row[i], column.unit, style.now);
    out += padded(label(column) + ':', width + 3, false) + (style.colour ? coloured(cell, cell) : cell) + '\n';
  }
  return out;
}

std::string document(const Value& value, const Style& style) {
  if (style.format == Format::yaml) return style.one_line ? "---\n" + to_yaml(value) : to_yaml(value);
  return to_json(value, style.one_line ? -1 : 0);
}

void write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw Error(Code::io, std::string("cannot write the output: ") + std::strerror(errno));
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

std::optional<Format> format_named(std::string_view name) {
  static constexpr std::string_view names[] = {"table", "wide", "json", "yaml", "name"};
  for (std::size_t i = 0; i < std::size(names); ++i)
    if (name == names[i]) return static_cast<Format>(i);
  return std::nullopt;
}

std::string render(const Kind& kind, const std::vector<Row>& rows, const Style& style) {
  std::string out;
  switch (style.format) {
    case Format::table:
    case Format::wide: return table_of(kind, rows, style);
    case Format::name:
      for (const Row& row : rows) out += name_of(kind, row, style);
      return out;
    default: break;
  }
  List list;
  for (const Row& row : rows) list.emplace_back(object_of(kind, row));
  return document(list, style);
}

std::string render(const Kind& kind, const Row& row, const Style& style) {
  switch (style.format) {
    case Format::table: return fields_of(kind, row, style);
    case Format::wide: return table_of(kind, {row}, style);
    case Format::name: return name_of(kind, row, style);
    default: return document(object_of(kind, row), style);
  }
}

std::string coloured(std::string_view word, std::string_view text) {
  static constexpr std::string_view good[] = {"ready", "running", "done", "ok"};
  static constexpr std::string_view uneasy[] = {"starting", "draining", "drained", "stopping", "paused", "warn"};
  static constexpr std::string_view bad[] = {"failed", "fail", "cancelled"};
  const auto among = [&](const auto& words) {
    return std::find(std::begin(words), std::end(words), word) != std::end(words);
  };
  const char* const code = among(good) ? "\033[32m" : among(uneasy) ? "\033[33m" : among(bad) ? "\033[31m" : nullptr;
  return code == nullptr ? std::string(text) : code + std::string(text) + "\033[0m";
}

void write_out(std::string_view text) { write_all(STDOUT_FILENO, text); }
void write_error(std::string_view text) { write_all(STDERR_FILENO, text); }

}  // namespace ml::ctl
