// What mlctl prints: values as JSON and YAML, numbers for people, tables.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tools/mlctl/output/human.h"
#include "tools/mlctl/output/printer.h"
#include "tools/mlctl/output/value.h"

namespace ml::ctl {
namespace {

TEST(Json, escapes_what_json_has_no_letters_for) {
  EXPECT_EQ(quoted("a\"b\\c\n\t\x01\x7f"), R"("a\"b\\c\n\t\u0001\u007f")");
  EXPECT_EQ(quoted("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82"), "\"h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82\"");
}

TEST(Json, replaces_bytes_that_are_no_text) {
  for (const char* const bytes : {"\xff", "\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe2\x82"}) {
    const std::string text = ctl::quoted(std::string(bytes) + "x");
    EXPECT_TRUE(text.starts_with("\"\\ufffd")) << text;
    EXPECT_TRUE(text.ends_with("x\"")) << text;
    EXPECT_FALSE(is_utf8(bytes));
  }
}

TEST(Json, numbers_read_back_the_same) {
  EXPECT_EQ(to_json(Value(std::numeric_limits<std::uint64_t>::max())), "18446744073709551615\n");
  EXPECT_EQ(to_json(Value(std::numeric_limits<std::int64_t>::min())), "-9223372036854775808\n");
  EXPECT_EQ(to_json(Value(0.1)), "0.1\n");
  EXPECT_EQ(to_json(Value(1e300)), "1e+300\n");
  EXPECT_EQ(to_json(Value(std::nan(""))), "null\n");
  EXPECT_EQ(to_json(Value(-std::numeric_limits<double>::infinity())), "null\n");
}

TEST(Json, is_indented_or_on_one_line) {
  const Value value = List{Object{{"a", 1}, {"b", List{1, 2}}, {"c", Object{}}}};
  EXPECT_EQ(to_json(value), "[\n  {\n    \"a\": 1,\n    \"b\": [1, 2],\n    \"c\": {}\n  }\n]\n");
  EXPECT_EQ(to_json(value, -1), "[{\"a\":1,\"b\":[1,2],\"c\":{}}]\n");
  EXPECT_EQ(to_json(Value(List{})), "[]\n");
}

TEST(Yaml, quotes_what_would_be_read_as_something_else) {
  for (const char* const text :
       {"",   "yes", "No", "null", "~",  "1.5",        "0x1f", "-",  "a: b", "a #b", "#",    "'",   "[x]",
        "*x", "&x",  "!x", "%x",   "@x", "2026-01-01", " x",   "x ", "a\nb", "NaN",  ".inf", "1:30"}) {
    EXPECT_EQ(to_yaml(Object{{"k", text}}), "k: " + quoted(text) + "\n") << text;
  }
  for (const char* const text : {"cpu0", "/run/mld.sock", "a b", "fashion@latest", "x-y_z.1"})
    EXPECT_EQ(to_yaml(Object{{"k", text}}), "k: " + std::string(text) + "\n");
}

TEST(Yaml, nests_lists_and_objects) {
  const Value value = List{Object{{"a", List{1, List{}}}, {"b", Object{{"c", nullptr}}}}, Object{}, "x"};
  EXPECT_EQ(to_yaml(value), "- a:\n    - 1\n    - []\n  b:\n    c: null\n- {}\n- x\n");
  EXPECT_EQ(to_yaml(Value(List{})), "[]\n");
}

TEST(Human, sizes_have_two_or_three_digits) {
  const std::pair<std::uint64_t, const char*> cases[] = {{0, "0 B"},
                                                         {1023, "1023 B"},
                                                         {1024, "1 KiB"},
                                                         {1536, "1.5 KiB"},
                                                         {10240, "10 KiB"},
                                                         {1048051, "1023 KiB"},
                                                         {1048575, "1 MiB"},
                                                         {32ULL << 30U, "32 GiB"},
                                                         {1ULL << 40U, "1 TiB"},
                                                         {std::numeric_limits<std::uint64_t>::max(), "16384 PiB"}};
  for (const auto& [bytes, text] : cases) EXPECT_EQ(human_bytes(bytes), text);
}

TEST(Human, times_have_two_units_at_most) {
  const std::pair<std::uint64_t, const char*> cases[] = {{0, "0 ns"},
                                                         {999, "999 ns"},
                                                         {1'500, "1.5 us"},
                                                         {999'600, "1 ms"},
                                                         {3'200'000'000, "3.2 s"},
                                                         {59'970'000'000, "1m"},
                                                         {250'000'000'000, "4m 10s"},
                                                         {7'500'000'000'000, "2h 5m"},
                                                         {273'600'000'000'000, "3d 4h"}};
  for (const auto& [ns, text] : cases) EXPECT_EQ(human_duration(ns), text);
}

TEST(Human, counts_are_grouped) {
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1000), "1,000");
  EXPECT_EQ(human_count(1234567), "1,234,567");
}

TEST(Human, names_cannot_write_to_the_terminal) {
  EXPECT_EQ(printable("a\033[2Jb\r\n\x7f"), "a\\x1b[2Jb\\x0d\\x0a\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\x9b31m");  // the one-byte form of ESC [
  EXPECT_EQ(printable("\xc3\xa9"), "\xc3\xa9");
}

TEST(Human, neither_can_logs) {
  EXPECT_EQ(printable_lines("a\tb\r\n\033]0;title\007\n\xc2\x9b"
                            "2J"),
            "a\tb\r\n\\x1b]0;title\\x07\n\\x9b2J");
  EXPECT_EQ(printable_lines(""), "");
}

TEST(Human, cells_say_what_their_unit_means) {
  EXPECT_EQ(human_cell(Value(), Unit::bytes, 0), "-");
  EXPECT_EQ(human_cell(Value(""), Unit::text, 0), "-");
  EXPECT_EQ(human_cell(Value(true), Unit::flag, 0), "yes");
  EXPECT_EQ(human_cell(Value(0.256), Unit::fraction, 0), "25.6 %");
  EXPECT_EQ(human_cell(Value(5'000'000'000U), Unit::time, 65'000'000'000), "1m ago");
  EXPECT_EQ(human_cell(Value(65'000'000'000U), Unit::time, 5'000'000'000), "in 1m");
  EXPECT_EQ(human_cell(Value(List{0, 1, 2, 3, 8, 10, 11}), Unit::counts, 0), "0-3,8,10,11");
  EXPECT_EQ(human_cell(Value(List{}), Unit::words, 0), "-");
  EXPECT_EQ(human_cell(Value(-7), Unit::integer, 0), "-7");
}

struct Thing {
  std::string name;
  std::uint64_t bytes = 0;
  std::string secret;
};
constexpr Column kColumns[] = {
    {"name", "NAME", Unit::text, "", of<&Thing::name>},
    {"size_bytes", "SIZE", Unit::bytes, "", of<&Thing::bytes>},
    {"text", "TEXT", Unit::text, "", [](const void*) { return Value("for people"); }, Shown::people},
    {"more", "MORE", Unit::text, "", unless_zero<&Thing::secret>, Shown::wide, true},
    {"raw", "RAW", Unit::text, "", of<&Thing::secret>, Shown::data}};
constexpr Kind kKind{"thing", "things", "", kColumns, "name"};

TEST(Printing, one_table_of_columns_makes_every_form) {
  const std::vector<Thing> things{{"ä\033", 1024, ""}, {"longer", 5, "s"}};
  const std::vector<Row> rows = rows_of(kKind, things);
  const auto form = [&](Format format) { return render(kKind, rows, {.format = format}); };
  EXPECT_EQ(form(Format::table), "NAME     SIZE  TEXT\nä\\x1b   1 KiB  for people\nlonger    5 B  for people\n");
  EXPECT_EQ(form(Format::wide),
            "NAME     SIZE  TEXT        MORE\nä\\x1b   1 KiB  for people  -\nlonger    5 B  for people  s\n");
  EXPECT_EQ(form(Format::name), "ä\\x1b\nlonger\n");
  EXPECT_EQ(
      form(Format::json),
      "[\n  {\n    \"name\": \"ä\\u001b\",\n    \"size_bytes\": 1024,\n    \"more\": null,\n    \"raw\": \"\"\n  },\n"
      "  {\n    \"name\": \"longer\",\n    \"size_bytes\": 5,\n    \"more\": \"s\",\n    \"raw\": \"s\"\n  }\n]\n");
  EXPECT_EQ(form(Format::yaml),
            "- name: \"ä\\u001b\"\n  size_bytes: 1024\n  more: null\n  raw: \"\"\n- name: longer\n  size_bytes: 5\n"
            "  more: s\n  raw: s\n");
}

TEST(Printing, one_thing_is_a_line_per_field) {
  const Row row = row_of(kKind, Thing{"x", 2048, ""});
  EXPECT_EQ(render(kKind, row, {}), "name:  x\nsize:  2 KiB\ntext:  for people\nmore:  -\n");
  EXPECT_EQ(render(kKind, row, {.format = Format::json, .one_line = true}),
            "{\"name\":\"x\",\"size_bytes\":2048,\"more\":null,\"raw\":\"\"}\n");
  EXPECT_EQ(render(kKind, row, {.format = Format::yaml, .one_line = true}),
            "---\nname: x\nsize_bytes: 2048\nmore: null\nraw: \"\"\n");
}

TEST(Printing, states_have_colours_that_take_no_room) {
  const std::string table = render(kKind, std::vector<Row>{row_of(kKind, Thing{"ready", 1, ""})}, {.colour = true});
  EXPECT_NE(table.find("\033[32mready\033[0m  "), std::string::npos) << table;
  EXPECT_EQ(coloured("whatever", "x"), "x");
}

}  // namespace
}  // namespace ml::ctl
