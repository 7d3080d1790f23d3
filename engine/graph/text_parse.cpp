#include <algorithm>
#include <bit>
#include <charconv>
#include <concepts>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "engine/graph/limits.h"
#include "engine/graph/narrow.h"
#include "engine/graph/scalar.h"
#include "engine/graph/text.h"
#include "engine/graph/text_lexer.h"
#include "ml/error.h"

namespace ml {
namespace {

using text::Kind;
using text::Lexer;
using text::Token;

// Runs `body`; what it throws without a place of its own gets that of `token`.
template <class Body>
auto placed(const Token& token, Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    if (error.context().starts_with("line ")) throw;
    throw error.within(place_of(token));
  }
}

template <std::integral T>
bool reads_as(std::string_view text, T& value, int base = 10) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}
template <class T>
requires std::is_floating_point_v<T>
bool reads_as(std::string_view text, T& value) {
  if (text == "nan") {
    value = std::numeric_limits<T>::quiet_NaN();
    return true;
  }
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

std::int64_t integer(const Token& token) {
  std::int64_t value = 0;
  if (token.kind != Kind::number || !reads_as(token.text, value))
    text::fail_at(token, "expected a 64-bit integer, found " + describe(token));
  return value;
}

std::uint64_t natural(const Token& token) {
  std::uint64_t value = 0;
  if ((token.kind != Kind::number && token.kind != Kind::value) || !reads_as(token.text, value))
    text::fail_at(token, "expected a number that is not negative, found " + describe(token));
  return value;
}

// Bits written as 0x...; false when the token is something else.
bool reads_bits(const Token& token, std::size_t bytes, std::uint64_t& bits) {
  if (token.kind != Kind::number || !token.text.starts_with("0x")) return false;
  if (!reads_as(token.text.substr(2), bits, 16) || (bytes < 8 && bits >> (8 * bytes) != 0))
    text::fail_at(token, describe(token) + " does not fit in " + std::to_string(bytes) + " bytes");
  return true;
}

double real(const Token& token) {
  std::uint64_t bits = 0;
  if (reads_bits(token, sizeof(double), bits)) return std::bit_cast<double>(bits);
  double value = 0;
  if ((token.kind != Kind::number && token.kind != Kind::word) || !reads_as(token.text, value))
    text::fail_at(token, "expected a number, found " + describe(token));
  return value;
}

// Writes one element of a constant.
void put_element(const Token& token, DType dtype, std::byte* at) {
  const auto bad = [&] {
    text::fail_at(token, "expected an element of " + std::string(dtype_name(dtype)) + ", found " + describe(token));
  };
  if (token.kind != Kind::number && token.kind != Kind::word) bad();
  if (is_floating(dtype)) {
    std::uint64_t bits = 0;
    if (!reads_bits(token, dtype_size(dtype), bits)) {
      double wide = 0;
      float narrow = 0;  // read as such: going through a double would round twice
      if (dtype == DType::f64 ? !reads_as(token.text, wide) : !reads_as(token.text, narrow)) bad();
      store_double(dtype, at, dtype == DType::f64 ? wide : narrow);
      return;
    }
    std::memcpy(at, &bits, dtype_size(dtype));
    if (is_narrow(dtype) && narrow::canonical(dtype, static_cast<std::uint8_t>(bits)) != bits) bad();
  } else if (dtype == DType::boolean) {
    if (token.text != "true" && token.text != "false") bad();
    store_int(dtype, at, token.text == "true" ? 1 : 0);
  } else if (dtype == DType::u64) {
    std::uint64_t value = 0;
    if (!reads_as(token.text, value)) bad();
    std::memcpy(at, &value, sizeof(value));
  } else {
    std::int64_t value = 0;
    if (!reads_as(token.text, value)) bad();
    store_int(dtype, at, value);
    if (load_int(dtype, at) != value) bad();
  }
}

class Parser {
 public:
  Parser(std::string_view text, std::span<const std::shared_ptr<const Blob>> blobs) : lexer_(text), blobs_(blobs) {}

  Graph whole() {
    const Token start = lexer_.peek();
    Graph graph = graph_body(0);
    if (lexer_.peek().kind != Kind::end)
      text::fail_at(lexer_.peek(), "expected the end of the text, found " + describe(lexer_.peek()));
    placed(start, [&] { verify(graph); });
    return graph;
  }

 private:
  class Fields;
  using Labels = std::unordered_map<std::uint64_t, ValueId>;

  Graph graph_body(int depth);
  void input_statement(Graph& graph, Labels& labels);
  void node_statement(Graph& graph, Labels& labels, int depth);
  std::string name();
  DType dtype();
  Shape shape(std::vector<std::string>* symbols = nullptr);
  TensorType type(std::vector<std::string>* symbols = nullptr);
  ConstantPtr constant();
  ConstantPtr blob_constant(const TensorType& type, const Token& start);

  static void define(Labels& labels, const Token& token, ValueId id) {
    if (!labels.emplace(natural(token), id).second) text::fail_at(token, describe(token) + " is defined twice");
  }
  static ValueId resolve(const Labels& labels, const Token& token) {
    const auto found = labels.find(natural(token));
    if (found == labels.end()) text::fail_at(token, describe(token) + " is not defined before it is used");
    return found->second;
  }
  Token label() { return lexer_.expect(Kind::value, "a value such as %0"); }

  Lexer lexer_;
  std::span<const std::shared_ptr<const Blob>> blobs_;
  std::uint64_t constant_bytes_ = 0;
};

// Remembers where each field of a node stands and reads it there when the attributes ask for it, so that the order is
// free.
class Parser::Fields final : public AttributeVisitor {
 public:
  Fields(Parser& parser, int depth) : parser_(parser), depth_(depth) { scan(); }

  void field(const char* name, bool& v) override {
    read(name, [&] {
      const Token token = parser_.lexer_.next();
      if (!token.is("true") && !token.is("false"))
        text::fail_at(token, "expected true or false, found " + describe(token));
      v = token.is("true");
    });
  }
  void field(const char* name, std::int64_t& v) override {
    read(name, [&] { v = integer(parser_.lexer_.next()); });
  }
  void field(const char* name, double& v) override {
    read(name, [&] { v = real(parser_.lexer_.next()); });
  }
  void field(const char* name, DType& v) override {
    read(name, [&] { v = parser_.dtype(); });
  }
  void field(const char* name, Shape& v) override {
    read(name, [&] { v = parser_.shape(); });
  }
  void field(const char* name, Ints& v) override {
    read(name, [&] {
      v.clear();
      parser_.lexer_.expect("[");
      if (parser_.lexer_.accept("]")) return;
      do v.push_back(integer(parser_.lexer_.next()));
      while (parser_.lexer_.accept(","));
      parser_.lexer_.expect("]");
    });
  }
  void field(const char* name, GraphPtr& v) override {
    read(name, [&] {
      if (!parser_.lexer_.accept("none")) v = std::make_shared<const Graph>(parser_.graph_body(depth_ + 1));
    });
  }
  void field(const char* name, ConstantPtr& v) override {
    read(name, [&] {
      if (!parser_.lexer_.accept("none")) v = parser_.constant();
    });
  }

  // After the visit: every field has been asked for. Goes on behind the braces.
  void finish(std::string_view op) {
    for (const Field& field : fields_) {
      if (!field.read) text::fail_at(field.token, std::string(op) + " has no field " + describe(field.token));
    }
    parser_.lexer_ = behind_;
  }

 private:
  struct Field {
    Token token;
    Lexer value;
    bool read;
  };

  void scan() {
    Lexer& lexer = parser_.lexer_;
    open_ = lexer.peek();
    if (lexer.accept("{") && !lexer.accept("}")) {
      do {
        const Token name = lexer.expect(Kind::word, "the name of a field");
        lexer.expect("=");
        if (fields_.size() == kMaxFields) text::fail_at(name, "too many fields");
        for (const Field& other : fields_) {
          if (other.token.text == name.text) text::fail_at(name, "field " + describe(name) + " is there twice");
        }
        fields_.push_back({name, lexer, false});
        skip_value(lexer);
      } while (lexer.accept(","));
      lexer.expect("}");
    }
    behind_ = lexer;
  }
  // Up to the comma or brace behind the value.
  static void skip_value(Lexer& lexer) {
    for (int depth = 0;;) {
      const Token& token = lexer.peek();
      if (token.kind == Kind::end) text::fail_at(token, "expected '}', found the end of the text");
      if (depth == 0 && (token.is(",") || token.is("}"))) return;
      if (token.is("{") || token.is("[")) ++depth;
      if (token.is("}") || token.is("]")) --depth;
      lexer.next();
    }
  }
  template <class Body>
  void read(const char* name, Body&& body) {
    for (Field& field : fields_) {
      if (field.token.text != name) continue;
      parser_.lexer_ = field.value;
      placed(field.token, body);
      const Token& end = parser_.lexer_.peek();
      if (!end.is(",") && !end.is("}"))
        text::fail_at(end, "expected ',' or '}' after field '" + std::string(name) + "', found " + describe(end));
      field.read = true;
      return;
    }
    text::fail_at(open_, "field '" + std::string(name) + "' is missing");
  }

  static constexpr std::size_t kMaxFields = 64;  // far more than any op has

  Parser& parser_;
  int depth_;
  Token open_;
  std::vector<Field> fields_;
  Lexer behind_{""};
};

std::string Parser::name() {
  const Token token = lexer_.next();
  if (token.kind != Kind::word && token.kind != Kind::quoted)
    text::fail_at(token, "expected a name, found " + describe(token));
  std::string result = token.kind == Kind::word ? std::string(token.text) : unquote(token);
  if (result.size() > kMaxNameBytes)
    text::fail_at(token, "a name is longer than " + std::to_string(kMaxNameBytes) + " bytes");
  return result;
}

DType Parser::dtype() {
  const Token token = lexer_.expect(Kind::word, "a dtype");
  return placed(token, [&] { return parse_dtype(token.text); });
}

Shape Parser::shape(std::vector<std::string>* symbols) {
  Shape result;
  lexer_.expect("[");
  if (lexer_.accept("]")) return result;
  do {
    const Token token = lexer_.next();
    std::string symbol;
    if (token.is("?")) {
      const Kind next = lexer_.peek().kind;
      if (symbols != nullptr && (next == Kind::word || next == Kind::quoted)) symbol = name();
    }
    placed(token, [&] {
      const std::int64_t extent = token.is("?") ? kUnknown : integer(token);
      if (extent < 0 && !token.is("?")) text::fail_at(token, "a dimension cannot be " + std::to_string(extent));
      result.append(extent);
    });
    if (symbols != nullptr) symbols->push_back(symbol);
  } while (lexer_.accept(","));
  lexer_.expect("]");
  return result;
}

TensorType Parser::type(std::vector<std::string>* symbols) {
  const DType element = dtype();
  return {element, shape(symbols)};
}

ConstantPtr Parser::blob_constant(const TensorType& type, const Token& start) {
  const Token identity = lexer_.expect(Kind::quoted, "the identity of a blob in quotes");
  lexer_.expect("offset");
  const std::uint64_t offset = natural(lexer_.next());
  lexer_.expect("length");
  const std::uint64_t length = natural(lexer_.next());
  const std::string wanted = unquote(identity);
  for (const auto& blob : blobs_) {
    if (blob->identity() != wanted) continue;
    auto data = std::make_shared<ConstantData>(ConstantData{type.dtype, type.shape, blob, offset});
    if (data->length() != length)
      text::fail_at(start,
                    "the constant has " + std::to_string(data->length()) + " bytes, not " + std::to_string(length));
    return data;
  }
  text::fail_at(identity, "there is no blob " + text::quote(wanted));
}

ConstantPtr Parser::constant() {
  const Token start = lexer_.peek();
  const TensorType described = type();
  return placed(start, [&]() -> ConstantPtr {
    if (lexer_.accept("blob")) return blob_constant(described, start);
    const std::int64_t elements = described.shape.elements();
    const std::size_t size = dtype_size(described.dtype);
    if (static_cast<std::uint64_t>(elements) > kInlineConstantBytes / size) {
      text::fail_at(start, "a constant of more than " + std::to_string(kInlineConstantBytes) +
                               " bytes is a reference to a blob, it cannot stand in the text");
    }
    std::vector<std::byte> bytes(static_cast<std::size_t>(elements) * size);
    constant_bytes_ += bytes.size();
    if (constant_bytes_ > kMaxGraphBytes) text::fail_at(start, "the constants together are too large");
    if (lexer_.accept("splat")) {
      const Token token = lexer_.next();
      for (std::size_t at = 0; at < bytes.size(); at += size) put_element(token, described.dtype, bytes.data() + at);
    } else {
      lexer_.expect("{");
      for (std::size_t at = 0; at < bytes.size(); at += size) {
        if (at > 0) lexer_.expect(",");
        put_element(lexer_.next(), described.dtype, bytes.data() + at);
      }
      lexer_.expect("}");
    }
    return make_constant(described.dtype, described.shape, bytes);
  });
}

void Parser::input_statement(Graph& graph, Labels& labels) {
  const Token token = label();
  std::string input_name = name();
  lexer_.expect(":");
  std::vector<std::string> symbols;
  const TensorType described = type(&symbols);
  define(labels, token, graph.add_input(std::move(input_name), described, std::move(symbols)));
}

// %a, %b = op(%c, %d) {field = value, ...} : type, type
void Parser::node_statement(Graph& graph, Labels& labels, int depth) {
  std::vector<Token> results;
  do results.push_back(label());
  while (lexer_.accept(","));
  lexer_.expect("=");
  const Token op_token = lexer_.expect(Kind::word, "the name of an op");
  const Op* op = lookup_op(op_token.text);
  if (op == nullptr) text::fail_at(op_token, "there is no op " + describe(op_token));
  lexer_.expect("(");
  std::vector<ValueId> inputs;
  if (!lexer_.accept(")")) {
    do inputs.push_back(resolve(labels, label()));
    while (lexer_.accept(","));
    lexer_.expect(")");
  }
  std::shared_ptr<Attributes> attributes =
      op->make_attributes != nullptr ? op->make_attributes() : std::make_unique<NoAttributes>();
  Fields fields(*this, depth);
  attributes->visit(fields);
  fields.finish(op->name);

  const ValueId first = placed(op_token, [&] { return graph.add(*op, std::move(attributes), inputs); });
  const std::size_t count = graph.values().size() - first;
  if (results.size() != count) {
    text::fail_at(results.front(), std::string(op->name) + " has " + std::to_string(count) + " results, not " +
                                       std::to_string(results.size()));
  }
  for (std::size_t i = 0; i < count; ++i) define(labels, results[i], first + static_cast<ValueId>(i));
  if (!lexer_.accept(":")) return;
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) lexer_.expect(",");
    const Token start = lexer_.peek();
    const TensorType written = type();
    const TensorType& inferred = graph.type(first + static_cast<ValueId>(i));
    if (written == inferred) continue;
    text::fail_at(start, "the result of " + std::string(op->name) + " is " + std::string(dtype_name(inferred.dtype)) +
                             inferred.shape.str());
  }
}

Graph Parser::graph_body(int depth) {
  const Token start = lexer_.peek();
  if (depth > kMaxGraphDepth)
    text::fail_at(start, "graphs stand more than " + std::to_string(kMaxGraphDepth) + " deep in each other");
  Graph graph;
  Labels labels;
  lexer_.expect("graph");
  graph.name = name();
  lexer_.expect("{");
  while (!lexer_.accept("}")) {
    if (lexer_.peek().kind == Kind::value) {
      node_statement(graph, labels, depth);
    } else if (lexer_.accept("input")) {
      input_statement(graph, labels);
    } else if (lexer_.accept("output")) {
      std::string output_name = name();
      lexer_.expect("=");
      graph.add_output(std::move(output_name), resolve(labels, label()));
    } else if (lexer_.accept("donate")) {
      const Token from = lexer_.next();
      const std::uint64_t input = natural(from);
      lexer_.expect("->");
      const std::uint64_t output = natural(lexer_.next());
      if (std::max(input, output) > std::numeric_limits<std::uint32_t>::max())
        text::fail_at(from, "there are no such inputs and outputs");
      graph.donate(static_cast<std::uint32_t>(input), static_cast<std::uint32_t>(output));
    } else {
      text::fail_at(lexer_.peek(),
                    "expected a value, 'input', 'output', 'donate' or '}', found " + describe(lexer_.peek()));
    }
  }
  return graph;
}

}  // namespace

Graph parse(std::string_view text, std::span<const std::shared_ptr<const Blob>> blobs) {
  if (text.size() > kMaxGraphBytes)
    throw Error(Code::corrupt, "a text of " + std::to_string(text.size()) + " bytes is too large for a graph");
  return Parser(text, blobs).whole();
}

}  // namespace ml
