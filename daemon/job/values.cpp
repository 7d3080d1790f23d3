#include "daemon/job/values.h"

#include <cmath>
#include <cstdio>

namespace ml::job {
namespace {

std::string number_text(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

std::string range_text(std::int64_t least, std::int64_t most) {
  if (most == kLargest) return "a whole number of at least " + std::to_string(least);
  return "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
}

}  // namespace

const toml::node* JobTable::find(std::string_view key, Need need, const std::string& expected) {
  const toml::node* const at = keys.node(key);
  if (at == nullptr && need == Need::required)
    mistakes.add(node, prefix + std::string(key) + ": it is missing; expected " + expected);
  return at;
}

void JobTable::integer(std::string_view key, std::int64_t& out, std::int64_t least, std::int64_t most, Need need) {
  const std::string expected = range_text(least, most);
  const toml::node* const at = find(key, need, expected);
  if (at == nullptr) return;
  const auto* const value = at->as_integer();
  if (value == nullptr) return keys.mistake(key, *at, "expected " + expected);
  if (value->get() < least || value->get() > most)
    return keys.mistake(key, *at, std::to_string(value->get()) + " is out of range; expected " + expected);
  out = value->get();
}

void JobTable::number(std::string_view key, double& out, double least, double most, bool open, Need need) {
  std::string expected = "a number of at least " + number_text(least);
  if (most < HUGE_VAL) expected += open ? " and below " + number_text(most) : " and at most " + number_text(most);
  const toml::node* const at = find(key, need, expected);
  if (at == nullptr) return;
  const auto value = at->value<double>();
  if (!value || at->is_boolean() || at->is_string()) return keys.mistake(key, *at, "expected " + expected);
  if (!std::isfinite(*value) || *value < least || *value > most || (open && *value == most))
    return keys.mistake(key, *at, number_text(*value) + " is out of range; expected " + expected);
  out = *value;
}

void JobTable::flag(std::string_view key, bool& out) {
  const toml::node* const at = keys.node(key);
  if (at == nullptr) return;
  if (const auto* const value = at->as_boolean())
    out = value->get();
  else
    keys.mistake(key, *at, "expected true or false");
}

void JobTable::text(std::string_view key, std::string& out, Need need) {
  if (!has(key)) return void(find(key, need, "a text in quotes"));
  keys.text(key, out);
}

void JobTable::choice(std::string_view key, std::string& out, std::initializer_list<std::string_view> of, Need need) {
  std::string expected;
  for (const std::string_view one : of) expected += (expected.empty() ? "\"" : ", \"") + std::string(one) + '"';
  if (!has(key)) return void(find(key, need, "one of " + expected));
  keys.choice(key, out, of);
}

void JobTable::integers(std::string_view key, std::vector<std::int64_t>& out, std::int64_t least, Need need) {
  const std::string expected = "a list of whole numbers of at least " + std::to_string(least);
  const toml::node* const at = find(key, need, expected);
  if (at == nullptr) return;
  const auto* const list = at->as_array();
  std::vector<std::int64_t> values;
  for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const auto* const value = list->get(i)->as_integer();
    if (value == nullptr || value->get() < least) return keys.mistake(key, *at, "expected " + expected);
    values.push_back(value->get());
  }
  if (values.empty()) return keys.mistake(key, *at, "expected " + expected);
  out = std::move(values);
}

void JobTable::two_files(std::string_view key, std::vector<std::string>& out, Need need) {
  const std::string expected = "two files, inputs and targets: [\"x\", \"y\"]";
  const toml::node* const at = find(key, need, expected);
  if (at == nullptr) return;
  const auto* const list = at->as_array();
  std::vector<std::string> names;
  for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const auto* const name = list->get(i)->as_string();
    if (name == nullptr || name->get().empty() || name->get().find('\0') != std::string::npos)
      return keys.mistake(key, *at, "expected " + expected);
    names.push_back(name->get());
  }
  if (names.size() != 2) return keys.mistake(key, *at, "expected " + expected);
  out = std::move(names);
}

void JobTable::refuse(std::string_view key, const std::string& why) {
  const toml::node* const at = node.get(key);
  if (at != nullptr) keys.mistake(key, *at, why);
}

}  // namespace ml::job
