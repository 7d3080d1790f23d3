// Prints rows in the form that was asked for, to stdout; people are spoken to on stderr.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tools/mlctl/output/kind.h"

namespace ml::ctl {

enum class Format { table, wide, json, yaml, name };
std::optional<Format> format_named(std::string_view name);

struct Style {
  Format format = Format::table;
  bool colour = false;    // of stdout
  bool one_line = false;  // JSON, when documents follow each other
  std::uint64_t now = 0;  // CLOCK_REALTIME ns
};

// Many things: a line each, or an array.
std::string render(const Kind& kind, const std::vector<Row>& rows, const Style& style);
// One thing: a line per field, or an object. -o wide is a table of one row.
std::string render(const Kind& kind, const Row& row, const Style& style);
// For people, in tables: "ready" is green, "failed" red.
std::string coloured(std::string_view word, std::string_view text);

// Writes all of it, however long the pipe takes. A reader that has gone ends the program as SIGPIPE would.
void write_out(std::string_view text);
void write_error(std::string_view text);

}  // namespace ml::ctl
