#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/graph/limits.h"
#include "engine/graph/scalar.h"
#include "engine/graph/text.h"
#include "engine/graph/text_lexer.h"

namespace ml {
namespace {

using text::written_name;

template <class T>
std::string number(T value) {
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  return {buffer, end};
}

std::string hexadecimal(std::uint64_t bits) {
  char buffer[20];
  return "0x" + std::string(buffer, std::to_chars(buffer, buffer + sizeof(buffer), bits, 16).ptr);
}

// Shortest digits that read back to the same value; a NaN other than the usual one by its bits.
std::string real(double value) {
  if (!std::isnan(value)) return number(value);
  const auto bits = std::bit_cast<std::uint64_t>(value);
  return bits == std::bit_cast<std::uint64_t>(std::numeric_limits<double>::quiet_NaN()) ? "nan" : hexadecimal(bits);
}

// The bits of a float of at most 32 bits that widens to `value`.
std::string narrow_real(float value, std::uint64_t bits, std::uint64_t usual_nan) {
  if (!std::isnan(value)) return number(value);
  return bits == usual_nan ? "nan" : hexadecimal(bits);
}

std::string element(DType dtype, const std::byte* at) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, at, dtype_size(dtype));
  switch (dtype) {
    case DType::boolean: return bits != 0 ? "true" : "false";
    case DType::u64: return number(bits);
    case DType::f64: return real(std::bit_cast<double>(bits));
    case DType::f32: {
      const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      return narrow_real(value, bits, 0x7fc00000);
    }
    case DType::f16: return narrow_real(f16_to_f32(static_cast<std::uint16_t>(bits)), bits, 0x7e00);
    case DType::bf16: return narrow_real(bf16_to_f32(static_cast<std::uint16_t>(bits)), bits, 0x7fc0);
    default: break;
  }
  if (!is_floating(dtype)) return number(load_int(dtype, at));
  const auto byte = static_cast<std::uint8_t>(bits);
  return narrow_real(narrow_to_f32(dtype, byte), bits, f32_to_narrow(dtype, std::numeric_limits<float>::quiet_NaN()));
}

std::string type(const TensorType& type, std::span<const std::string> symbols = {}) {
  std::string text(dtype_name(type.dtype));
  text += '[';
  for (int i = 0; i < type.shape.rank(); ++i) {
    if (i > 0) text += ", ";
    if (type.shape[i] != kUnknown) {
      text += number(type.shape[i]);
      continue;
    }
    text += '?';
    const auto place = static_cast<std::size_t>(i);
    if (place < symbols.size() && !symbols[place].empty()) text += written_name(symbols[place]);
  }
  return text + "]";
}

std::string values(std::span<const ValueId> ids) {
  std::string text;
  for (const ValueId id : ids) text += (text.empty() ? "%" : ", %") + number(id);
  return text;
}

class Printer {
 public:
  explicit Printer(std::size_t depth) : depth_(depth) {}
  std::string print(const Graph& graph) {
    text_ += "graph " + written_name(graph.name) + " {\n";
    ++depth_;
    // In the order of the values' ids, so that reading gives them the same.
    auto input = graph.inputs().begin();
    for (const Node& node : graph.nodes()) {
      for (; input != graph.inputs().end() && input->value < node.first_output; ++input) print_input(graph, *input);
      print_node(graph, node);
    }
    for (; input != graph.inputs().end(); ++input) print_input(graph, *input);
    for (const GraphOutput& output : graph.outputs())
      line("output " + written_name(output.name) + " = %" + number(output.value));
    for (const Donation& donation : graph.donations())
      line("donate " + number(donation.input) + " -> " + number(donation.output));
    --depth_;
    text_ += std::string(2 * depth_, ' ') + "}";
    return std::move(text_);
  }

 private:
  class Fields;

  void line(const std::string& text) { text_ += std::string(2 * depth_, ' ') + text + "\n"; }
  void print_input(const Graph& graph, const GraphInput& input) {
    line("input %" + number(input.value) + " " + written_name(input.name) + ": " +
         type(graph.type(input.value), input.symbols));
  }
  void print_node(const Graph& graph, const Node& node);

  std::string text_;
  std::size_t depth_;
};

class Printer::Fields final : public AttributeVisitor {
 public:
  explicit Fields(std::size_t depth) : depth_(depth) {}
  std::string text;

  void field(const char* name, bool& v) override { put(name, v ? "true" : "false"); }
  void field(const char* name, std::int64_t& v) override { put(name, number(v)); }
  void field(const char* name, double& v) override { put(name, real(v)); }
  void field(const char* name, DType& v) override { put(name, std::string(dtype_name(v))); }
  void field(const char* name, Shape& v) override { put(name, v.str()); }
  void field(const char* name, Ints& v) override {
    std::string list;
    for (const std::int64_t value : v) list += (list.empty() ? "" : ", ") + number(value);
    put(name, "[" + list + "]");
  }
  void field(const char* name, GraphPtr& v) override { put(name, v ? Printer(depth_).print(*v) : "none"); }
  void field(const char* name, ConstantPtr& v) override { put(name, v ? constant(*v) : "none"); }

 private:
  void put(const char* name, const std::string& value) {
    text += (text.empty() ? "" : ", ") + std::string(name) + " = " + value;
  }
  static std::string constant(const ConstantData& constant);

  std::size_t depth_;
};

std::string Printer::Fields::constant(const ConstantData& constant) {
  const std::string prefix = type({constant.dtype, constant.shape});
  if (constant.length() > kInlineConstantBytes) {
    return prefix + " blob " + text::quote(constant.blob->identity()) + " offset " + number(constant.offset) +
           " length " + number(constant.length());
  }
  const std::span<const std::byte> bytes = constant.bytes();
  const std::size_t size = dtype_size(constant.dtype);
  if (bytes.size() > size && std::memcmp(bytes.data(), bytes.data() + size, bytes.size() - size) == 0)
    return prefix + " splat " + element(constant.dtype, bytes.data());
  std::string list;
  for (std::size_t at = 0; at < bytes.size(); at += size)
    list += (at == 0 ? "" : ", ") + element(constant.dtype, bytes.data() + at);
  return prefix + " {" + list + "}";
}

void Printer::print_node(const Graph& graph, const Node& node) {
  Fields fields(depth_);
  inspect(*node.attributes, fields);
  std::vector<ValueId> outputs;
  std::string types;
  for (std::uint32_t i = 0; i < node.output_count; ++i) {
    outputs.push_back(node.output(i));
    types += (i == 0 ? " : " : ", ") + type(graph.type(node.output(i)));
  }
  line(values(outputs) + " = " + std::string(node.op->name) + "(" + values(node.inputs) + ")" +
       (fields.text.empty() ? "" : " {" + fields.text + "}") + types);
}

}  // namespace

std::string print(const Graph& graph) { return Printer(0).print(graph) + "\n"; }

}  // namespace ml
