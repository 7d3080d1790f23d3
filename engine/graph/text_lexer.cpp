#include "engine/graph/text_lexer.h"

#include <algorithm>

#include "ml/error.h"

namespace ml::text {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_word(char c) { return is_letter(c) || is_digit(c) || c == '.'; }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// How many characters of `text`, which begins a number, belong to it.
std::size_t number_length(std::string_view text) {
  const bool bits = text.starts_with("0x");
  std::size_t length = 1;
  while (length < text.size()) {
    const char c = text[length];
    const char before = text[length - 1];
    const bool exponent_sign = !bits && (c == '-' || c == '+') && (before == 'e' || before == 'E');
    if (!is_word(c) && !exponent_sign) break;
    ++length;
  }
  return length;
}

}  // namespace

std::string place_of(const Token& token) {
  return "line " + std::to_string(token.line) + ", column " + std::to_string(token.column);
}

void fail_at(const Token& token, const std::string& what) { throw Error(Code::corrupt, what, place_of(token)); }

std::string describe(const Token& token) {
  constexpr std::size_t kShown = 40;
  const std::string shown(token.text.substr(0, kShown));
  switch (token.kind) {
    case Kind::end: return "the end of the text";
    case Kind::quoted: return "\"" + shown + "\"";
    case Kind::value: return "%" + shown;
    default: return "'" + shown + "'";
  }
}

std::string unquote(const Token& token) {
  std::string result;
  for (std::size_t i = 0; i < token.text.size(); ++i) {
    char c = token.text[i];
    if (c == '\\') {
      c = token.text[++i];  // the lexer has seen to it that one follows
      if (c == 'n') {
        c = '\n';
      } else if (c == 't') {
        c = '\t';
      } else if (c == 'x') {
        const int high = i + 2 < token.text.size() ? hex_value(token.text[i + 1]) : -1;
        const int low = high >= 0 ? hex_value(token.text[i + 2]) : -1;
        if (low < 0) fail_at(token, "\\x wants two hexadecimal digits");
        c = static_cast<char>(high * 16 + low);
        i += 2;
      } else if (c != '"' && c != '\\') {
        fail_at(token, std::string("there is no escape \\") + c);
      }
    }
    result += c;
  }
  return result;
}

std::string quote(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (byte < 0x20 || byte >= 0x7f) {
      result += "\\x";
      result += kDigits[byte >> 4];
      result += kDigits[byte & 15];
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string written_name(std::string_view name) {
  const bool word = !name.empty() && is_letter(name.front()) && std::ranges::all_of(name, is_word);
  return word ? std::string(name) : quote(name);
}

void Lexer::expect(std::string_view what) {
  if (!accept(what)) fail_at(token_, "expected '" + std::string(what) + "', found " + describe(token_));
}

Token Lexer::expect(Kind kind, const char* what) {
  if (token_.kind != kind) fail_at(token_, std::string("expected ") + what + ", found " + describe(token_));
  return next();
}

void Lexer::take(std::size_t length) {
  rest_.remove_prefix(length);
  column_ += length;
}

void Lexer::skip_blank() {
  while (!rest_.empty()) {
    const char c = rest_.front();
    if (c == '\n') {
      rest_.remove_prefix(1);
      ++line_;
      column_ = 1;
    } else if (c == ' ' || c == '\t' || c == '\r') {
      take(1);
    } else if (c == '#') {
      take(std::min(rest_.find('\n'), rest_.size()));
    } else {
      return;
    }
  }
}

void Lexer::advance() {
  skip_blank();
  token_ = {Kind::end, rest_.substr(0, 0), line_, column_};
  if (rest_.empty()) return;
  const char c = rest_.front();
  const char after = rest_.size() > 1 ? rest_[1] : '\0';
  std::size_t length = 1;
  if (is_letter(c)) {
    while (length < rest_.size() && is_word(rest_[length])) ++length;
    token_.kind = Kind::word;
  } else if (c == '-' && after == '>') {
    length = 2;
    token_.kind = Kind::punctuation;
  } else if (is_digit(c) || (c == '-' && (is_digit(after) || is_letter(after)))) {
    length = number_length(rest_);
    token_.kind = Kind::number;
  } else if (c == '%') {
    while (length < rest_.size() && is_digit(rest_[length])) ++length;
    token_.kind = Kind::value;
    token_.text = rest_.substr(1, length - 1);
    if (length == 1) fail_at(token_, "expected a number after '%'");
    take(length);
    return;
  } else if (c == '"') {
    while (length < rest_.size() && rest_[length] != '"' && rest_[length] != '\n')
      length += rest_[length] == '\\' && length + 1 < rest_.size() && rest_[length + 1] != '\n' ? 2 : 1;
    if (length >= rest_.size() || rest_[length] != '"') fail_at(token_, "a quoted name does not end on its line");
    token_.kind = Kind::quoted;
    token_.text = rest_.substr(1, length - 1);
    take(length + 1);
    return;
  } else if (std::string_view("{}()[],:=?").find(c) != std::string_view::npos) {
    token_.kind = Kind::punctuation;
  } else {
    token_.text = rest_.substr(0, 1);
    fail_at(token_, "unexpected character " + quote(token_.text));
  }
  token_.text = rest_.substr(0, length);
  take(length);
}

}  // namespace ml::text
