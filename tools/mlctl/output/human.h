// Numbers as people read them: sizes, times and cells of a table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tools/mlctl/output/kind.h"

namespace ml::ctl {

std::string human_bytes(std::uint64_t bytes);  // "0 B", "1.5 KiB", "32 GiB"
std::string human_duration(std::uint64_t ns);  // "850 ns", "12 ms", "3.2 s", "4m 10s", "2h 5m", "3d 4h"
std::string human_number(double value);        // four digits
std::string human_count(std::uint64_t count);  // "12,345"

// A cell of a table; `now` is what times are compared with (CLOCK_REALTIME ns). Control characters are shown as
// "\x1b", so that no name can write to the terminal.
std::string human_cell(const Value& value, Unit unit, std::uint64_t now);
std::string printable(std::string_view text);
// The same for text of many lines: line feeds, tabs and carriage returns stay.
std::string printable_lines(std::string_view text);

// Columns on a terminal that a text takes: its code points.
std::size_t display_width(std::string_view text);

}  // namespace ml::ctl
