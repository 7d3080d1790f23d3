// The words of the text form, each with the place where it stands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ml::text {

enum class Kind : std::uint8_t {
  end,
  word,         // letters, digits, '_' and '.', beginning with a letter or '_'
  number,       // as C writes it, "-inf", or the bits of a float as 0x...
  quoted,       // "..." with \" \\ \n \t \xHH
  value,        // %12
  punctuation,  // one of { } ( ) [ ] , : = ? or ->
};

struct Token {
  Kind kind = Kind::end;
  std::string_view text;  // as it stands; without the quotes or the % for quoted and value
  std::size_t line = 1, column = 1;

  bool is(std::string_view what) const { return text == what && (kind == Kind::punctuation || kind == Kind::word); }
};

// Throws corrupt with the token's line and column as context.
[[noreturn]] void fail_at(const Token& token, const std::string& what);
std::string place_of(const Token& token);
// How an error message names a token.
std::string describe(const Token& token);
// What a quoted token stands for.
std::string unquote(const Token& token);
// A name as the printer writes it: bare when it is a word, quoted otherwise.
std::string written_name(std::string_view name);
std::string quote(std::string_view text);

// One token of look-ahead over a text that outlives it. Copies are cheap and remember a place to come back to.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : rest_(text) { advance(); }

  const Token& peek() const { return token_; }
  Token next() {
    const Token token = token_;
    advance();
    return token;
  }
  // Takes the token when it is `what`.
  bool accept(std::string_view what) {
    if (!token_.is(what)) return false;
    advance();
    return true;
  }
  void expect(std::string_view what);
  Token expect(Kind kind, const char* what);

 private:
  void advance();
  void skip_blank();
  void take(std::size_t length);

  std::string_view rest_;
  std::size_t line_ = 1, column_ = 1;
  Token token_;
};

}  // namespace ml::text
