// Reading the binary form. FlatBuffers' verifier keeps every offset inside of the bytes; the rest is checked here: what
// is read is never more than there are bytes (offsets may be shared, so a small buffer could claim to be a huge graph),
// and every node goes through its op's shape rule.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "engine/graph/binary.h"
#include "engine/graph/graph_generated.h"
#include "engine/graph/limits.h"
#include "engine/graph/narrow.h"
#include "ml/error.h"

namespace ml {
namespace {

using flatbuffers::Offset;

// Of the name of an op or a field, which may be shared without limit.
constexpr std::size_t kMaxKeyBytes = 64;

[[noreturn]] void corrupt(std::string what) {
  throw Error(Code::corrupt, std::move(what), {}, "the bytes are not a graph that mlaccel wrote");
}

// Runs `body` and adds `where()` to the context of what it throws.
template <class Where, class Body>
auto at(Where&& where, Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    throw error.within(where());
  }
}

class Reader {
 public:
  Reader(std::size_t bytes, std::span<const std::shared_ptr<const Blob>> blobs) : budget_(bytes), blobs_(blobs) {}
  Graph read(const fb::Graph& from, int depth);

 private:
  class Fields;

  void charge(std::uint64_t bytes) {
    if (bytes > budget_) corrupt("its parts together are larger than the whole");
    budget_ -= bytes;
  }
  std::string text(const flatbuffers::String& from) {
    if (from.size() > kMaxNameBytes) corrupt("a name has " + std::to_string(from.size()) + " bytes");
    charge(from.size());
    return from.str();
  }
  static std::string_view key(const flatbuffers::String& from) {
    if (from.size() > kMaxKeyBytes) corrupt("the name of an op or field has " + std::to_string(from.size()) + " bytes");
    return {from.c_str(), from.size()};
  }
  template <class T>
  std::vector<T> numbers(const flatbuffers::Vector<T>* from) {
    if (from == nullptr) return {};
    charge(std::uint64_t{from->size()} * sizeof(T));
    std::vector<T> values(from->size());
    // The verifier aligns a vector's length only, not its elements.
    if (!values.empty()) std::memcpy(values.data(), from->Data(), values.size() * sizeof(T));
    return values;
  }
  Shape shape(const flatbuffers::Vector<std::int64_t>& from) { return Shape(numbers(&from)); }
  static DType dtype(std::uint8_t number) {
    if (!is_dtype(number)) corrupt(std::to_string(number) + " is no dtype");
    return static_cast<DType>(number);
  }
  void add_input(Graph& graph, const fb::Input& from);
  void add_node(Graph& graph, const fb::Node& from, int depth);
  ConstantPtr constant(const fb::Constant& from);

  std::uint64_t budget_;
  std::span<const std::shared_ptr<const Blob>> blobs_;
};

// Assigns every field that it visits from the field of that name; all must be there, once, with the right type.
class Reader::Fields final : public AttributeVisitor {
 public:
  Fields(Reader& reader, const flatbuffers::Vector<Offset<fb::Field>>* from, int depth)
      : reader_(reader), from_(from), depth_(depth) {}

  void field(const char* name, bool& v) override { v = get<fb::Boolean>(name, "a bool").value(); }
  void field(const char* name, std::int64_t& v) override { v = get<fb::Integer>(name, "an integer").value(); }
  void field(const char* name, double& v) override { v = get<fb::Real>(name, "a number").value(); }
  void field(const char* name, DType& v) override {
    read(name, [&] { v = dtype(get<fb::ElementType>(name, "a dtype").value()); });
  }
  void field(const char* name, Shape& v) override {
    read(name, [&] { v = reader_.shape(*get<fb::Extents>(name, "a shape").dims()); });
  }
  void field(const char* name, Ints& v) override {
    read(name, [&] { v = reader_.numbers(get<fb::Integers>(name, "a list of integers").values()); });
  }
  void field(const char* name, GraphPtr& v) override {
    const fb::Field& found = find(name);
    if (found.value_type() == fb::FieldValue::NONE) return;
    read(name, [&] {
      v = std::make_shared<const Graph>(reader_.read(typed<fb::Graph>(found, name, "a graph"), depth_ + 1));
    });
  }
  void field(const char* name, ConstantPtr& v) override {
    const fb::Field& found = find(name);
    if (found.value_type() == fb::FieldValue::NONE) return;
    read(name, [&] { v = reader_.constant(typed<fb::Constant>(found, name, "a constant")); });
  }

  // After the visit: every field has been asked for.
  void finish() const {
    if (from_ == nullptr || visited_.size() == from_->size()) return;
    for (const fb::Field* field : *from_) {
      const std::string_view name = key(*field->name());
      if (std::find(visited_.begin(), visited_.end(), name) == visited_.end())
        corrupt("has no field '" + std::string(name) + "'");
    }
  }

 private:
  template <class Body>
  static void read(const char* name, Body&& body) {
    at([&] { return "field '" + std::string(name) + "'"; }, body);
  }
  const fb::Field& find(const char* name) {
    const fb::Field* found = nullptr;
    for (std::uint32_t i = 0; from_ != nullptr && i < from_->size(); ++i) {
      const fb::Field* field = from_->Get(i);
      if (key(*field->name()) != name) continue;
      if (found != nullptr) corrupt("field '" + std::string(name) + "' is there twice");
      found = field;
    }
    if (found == nullptr) corrupt("field '" + std::string(name) + "' is missing");
    visited_.emplace_back(name);
    return *found;
  }
  template <class T>
  static const T& typed(const fb::Field& found, const char* name, const char* wanted) {
    if (found.value_type() != fb::FieldValueTraits<T>::enum_value || found.value() == nullptr)
      corrupt("field '" + std::string(name) + "' is not " + wanted);
    return *static_cast<const T*>(found.value());
  }
  template <class T>
  const T& get(const char* name, const char* wanted) {
    return typed<T>(find(name), name, wanted);
  }

  Reader& reader_;
  const flatbuffers::Vector<Offset<fb::Field>>* from_;
  int depth_;
  std::vector<std::string_view> visited_;
};

ConstantPtr Reader::constant(const fb::Constant& from) {
  ConstantData data{dtype(from.dtype()), shape(*from.dims()), nullptr, 0};
  if (from.bytes() != nullptr) {
    if (from.bytes()->size() > kInlineConstantBytes)
      corrupt("a constant of " + std::to_string(from.bytes()->size()) + " bytes stands inside the graph");
    const std::vector<std::uint8_t> bytes = numbers(from.bytes());
    if (data.dtype == DType::boolean && std::ranges::any_of(bytes, [](std::uint8_t byte) { return byte > 1; }))
      corrupt("a bool constant holds something that is neither 0 nor 1");
    if (is_narrow(data.dtype) &&
        std::ranges::any_of(bytes, [&](std::uint8_t byte) { return narrow::canonical(data.dtype, byte) != byte; }))
      corrupt("a constant of " + std::string(dtype_name(data.dtype)) + " holds a byte that is no element of it");
    return make_constant(data.dtype, data.shape, std::as_bytes(std::span(bytes)));
  }
  if (from.blob() >= blobs_.size()) {
    corrupt("refers to blob " + std::to_string(from.blob()) + " of " + std::to_string(blobs_.size()));
  }
  data.blob = blobs_[from.blob()];
  data.offset = from.offset();
  if (from.length() != data.length()) {
    corrupt("a constant " + std::string(dtype_name(data.dtype)) + data.shape.str() + " refers to " +
            std::to_string(from.length()) + " bytes");
  }
  return std::make_shared<const ConstantData>(std::move(data));
}

void Reader::add_input(Graph& graph, const fb::Input& from) {
  const TensorType type{dtype(from.dtype()), shape(*from.dims())};
  std::vector<std::string> symbols;
  if (from.symbols() != nullptr) {
    for (const fb::Symbol* symbol : *from.symbols()) symbols.push_back(text(*symbol->name()));
  }
  graph.add_input(text(*from.name()), type, std::move(symbols));
}

void Reader::add_node(Graph& graph, const fb::Node& from, int depth) {
  const Op* op = lookup_op(key(*from.op()));
  if (op == nullptr) corrupt("there is no op '" + from.op()->str() + "'");
  const std::vector<ValueId> inputs = numbers(from.inputs());
  for (const ValueId input : inputs) {
    if (input >= graph.values().size()) corrupt("reads value " + std::to_string(input) + " before it is made");
  }
  std::shared_ptr<Attributes> attributes =
      op->make_attributes != nullptr ? op->make_attributes() : std::make_unique<NoAttributes>();
  Fields fields(*this, from.fields(), depth);
  attributes->visit(fields);
  fields.finish();
  graph.add(*op, std::move(attributes), inputs);
}

Graph Reader::read(const fb::Graph& from, int depth) {
  if (depth > kMaxGraphDepth)
    corrupt("graphs stand more than " + std::to_string(kMaxGraphDepth) + " deep in each other");
  Graph graph;
  graph.name = text(*from.name());
  return at([&] { return "graph '" + graph.name + "'"; },
            [&] {
              std::uint32_t next_input = 0;
              const std::uint32_t input_count = from.inputs() == nullptr ? 0 : from.inputs()->size();
              const auto add_inputs = [&] {
                while (next_input < input_count && from.inputs()->Get(next_input)->value() == graph.values().size()) {
                  at([&] { return "input " + std::to_string(next_input); },
                     [&] { add_input(graph, *from.inputs()->Get(next_input)); });
                  ++next_input;
                }
              };
              add_inputs();
              for (std::uint32_t i = 0; from.nodes() != nullptr && i < from.nodes()->size(); ++i) {
                const fb::Node& node = *from.nodes()->Get(i);
                at([&] { return "node " + std::to_string(i) + " (" + std::string(key(*node.op())) + ")"; },
                   [&] { add_node(graph, node, depth); });
                add_inputs();
              }
              if (next_input < input_count)
                corrupt("input " + std::to_string(next_input) + " has an id that is not its place");
              for (std::uint32_t i = 0; from.outputs() != nullptr && i < from.outputs()->size(); ++i) {
                const fb::Output& output = *from.outputs()->Get(i);
                if (output.value() >= graph.values().size())
                  corrupt("output " + std::to_string(i) + " is value " + std::to_string(output.value()) + " of " +
                          std::to_string(graph.values().size()));
                graph.add_output(text(*output.name()), output.value());
              }
              for (std::uint32_t i = 0; from.donations() != nullptr && i < from.donations()->size(); ++i)
                graph.donate(from.donations()->Get(i)->input(), from.donations()->Get(i)->output());
              return std::move(graph);
            });
}

}  // namespace

Graph deserialize(std::span<const std::byte> bytes, std::span<const std::shared_ptr<const Blob>> blobs) {
  if (bytes.size() > kMaxGraphBytes) {
    throw Error(Code::corrupt, "a graph of " + std::to_string(bytes.size()) + " bytes is larger than the limit of " +
                                   std::to_string(kMaxGraphBytes));
  }
  std::vector<std::uint64_t> aligned;
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(std::uint64_t) != 0) {
    aligned.resize((bytes.size() + 7) / 8);
    std::memcpy(aligned.data(), bytes.data(), bytes.size());
    bytes = std::as_bytes(std::span(aligned)).first(bytes.size());
  }
  flatbuffers::Verifier::Options limits;
  limits.max_depth = 3 * (kMaxGraphDepth + 1) + 2;  // a graph, a node and a field each
  limits.max_tables =
      static_cast<flatbuffers::uoffset_t>(bytes.size() / 4);  // less than that only when they are shared
  flatbuffers::Verifier verifier(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), limits);
  if (!fb::VerifyGraphBuffer(verifier))
    corrupt("not a well-formed graph of " + std::to_string(bytes.size()) + " bytes");
  const fb::Graph& root = *fb::GetGraph(bytes.data());
  Graph graph = Reader(bytes.size(), blobs).read(root, 0);
  verify(graph);
  return graph;
}

}  // namespace ml
