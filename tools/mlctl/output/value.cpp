#include "tools/mlctl/output/value.h"

#include <charconv>
#include <cmath>

namespace ml::ctl {
namespace {

// Length of the UTF-8 sequence at the front of `text`, 0 when there is none (overlong forms and surrogates are none).
std::size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto tail = [&](std::size_t i) { return i < text.size() && (byte(i) & 0xc0U) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return tail(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (!tail(1) || !tail(2)) return 0;
    const bool overlong = first == 0xe0 && byte(1) < 0xa0, surrogate = first == 0xed && byte(1) >= 0xa0;
    return overlong || surrogate ? 0 : 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    const bool overlong = first == 0xf0 && byte(1) < 0x90, too_large = first == 0xf4 && byte(1) >= 0x90;
    return overlong || too_large ? 0 : 4;
  }
  return 0;
}

// The shortest text that reads back as the same number.
std::string number_text(double value) {
  if (!std::isfinite(value)) return "null";
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

// What both forms write alike; lists and objects excepted.
std::string scalar(const Value& value) {
  if (const auto* truth = value.as<bool>()) return *truth ? "true" : "false";
  if (const auto* integer = value.as<std::int64_t>()) return std::to_string(*integer);
  if (const auto* natural = value.as<std::uint64_t>()) return std::to_string(*natural);
  if (const auto* real = value.as<double>()) return number_text(*real);
  if (const auto* text = value.as<std::string>()) return quoted(*text);
  return "null";
}

void json_into(std::string& out, const Value& value, int indent) {
  const auto* list = value.as<List>();
  const auto* object = value.as<Object>();
  if (list == nullptr && object == nullptr) {
    out += scalar(value);
    return;
  }
  const std::size_t size = list != nullptr ? list->size() : object->size();
  const char open = list != nullptr ? '[' : '{', close = list != nullptr ? ']' : '}';
  // A list of numbers or words stays on one line.
  bool flat = indent < 0;
  if (list != nullptr && !flat) {
    flat = true;
    for (const Value& element : *list)
      if (element.as<List>() != nullptr || element.as<Object>() != nullptr) flat = false;
  }
  out += open;
  for (std::size_t i = 0; i < size; ++i) {
    if (i > 0) out += flat && indent >= 0 ? ", " : ",";
    if (!flat) out += '\n' + std::string(static_cast<std::size_t>(indent) + 2, ' ');
    if (object != nullptr) out += quoted((*object)[i].first) + (indent < 0 ? ":" : ": ");
    json_into(out, object != nullptr ? (*object)[i].second : (*list)[i], indent < 0 ? -1 : indent + 2);
  }
  if (!flat && size > 0) out += '\n' + std::string(static_cast<std::size_t>(indent), ' ');
  out += close;
}

// A string that YAML reads as that string without quotes, whichever version of it.
bool plain_in_yaml(std::string_view text) {
  if (text.empty()) return false;
  const char first = text.front();
  const bool letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first == '/';
  if (!letter || text.back() == ' ') return false;
  for (const char c : text) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!word && std::string_view(" -_./@%()=+").find(c) == std::string_view::npos) return false;
  }
  // Words that one version or another takes for a truth value or nothing.
  static constexpr std::string_view taken[] = {"true", "false", "yes", "no",  "on", "off",
                                               "null", "y",     "n",   "nan", "inf"};
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  for (const std::string_view word : taken)
    if (lower == word) return false;
  return true;
}

std::string yaml_scalar(const Value& value) {
  const auto* text = value.as<std::string>();
  return text != nullptr && plain_in_yaml(*text) ? *text : scalar(value);
}

void yaml_into(std::string& out, const Value& value, std::size_t indent);

// What stands behind "key:" or "-": a scalar on the same line, anything else below it.
void yaml_member(std::string& out, const Value& value, std::size_t indent) {
  const auto* list = value.as<List>();
  const auto* object = value.as<Object>();
  if (list != nullptr && list->empty()) {
    out += " []\n";
  } else if (object != nullptr && object->empty()) {
    out += " {}\n";
  } else if (list != nullptr || object != nullptr) {
    out += '\n';
    yaml_into(out, value, indent);
  } else {
    out += ' ' + yaml_scalar(value) + '\n';
  }
}

void yaml_into(std::string& out, const Value& value, std::size_t indent) {
  const std::string margin(indent, ' ');
  if (const auto* list = value.as<List>()) {
    for (const Value& element : *list) {
      const auto* object = element.as<Object>();
      if (object == nullptr || object->empty()) {
        out += margin + '-';
        yaml_member(out, element, indent + 2);
        continue;
      }
      // The first member stands behind the dash, the others below it.
      std::string members;
      yaml_into(members, element, indent + 2);
      members[indent] = '-';
      out += members;
    }
  } else if (const auto* object = value.as<Object>()) {
    for (const auto& [key, member] : *object) {
      out += margin + (plain_in_yaml(key) ? key : quoted(key)) + ':';
      yaml_member(out, member, indent + 2);
    }
  } else {
    out += margin + yaml_scalar(value) + '\n';
  }
}

}  // namespace

double Value::number() const {
  if (const auto* integer = as<std::int64_t>()) return static_cast<double>(*integer);
  if (const auto* natural = as<std::uint64_t>()) return static_cast<double>(*natural);
  if (const auto* real = as<double>()) return *real;
  return 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_sequence(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string quoted(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  while (!text.empty()) {
    const char c = text.front();
    const std::size_t length = utf8_sequence(text);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4U];
      out += kHex[static_cast<unsigned char>(c) & 15U];
    } else if (length == 0) {
      out += "\\ufffd";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out + '"';
}

std::string to_json(const Value& value, int indent) {
  std::string out;
  json_into(out, value, indent);
  return out + '\n';
}

std::string to_yaml(const Value& value) {
  const auto* list = value.as<List>();
  const auto* object = value.as<Object>();
  if (list != nullptr && list->empty()) return "[]\n";
  if (object != nullptr && object->empty()) return "{}\n";
  std::string out;
  yaml_into(out, value, 0);
  return out;
}

}  // namespace ml::ctl
