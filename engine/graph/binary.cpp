#include "engine/graph/binary.h"

#include "engine/graph/graph_generated.h"
#include "engine/graph/limits.h"
#include "ml/error.h"

namespace ml {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

class Writer {
 public:
  BinaryGraph write(const Graph& graph) {
    builder_.Finish(write_graph(graph), fb::GraphIdentifier());
    const auto* data = reinterpret_cast<const std::byte*>(builder_.GetBufferPointer());
    result_.bytes.assign(data, data + builder_.GetSize());
    return std::move(result_);
  }

 private:
  class Fields;

  Offset<flatbuffers::String> text(std::string_view value) { return builder_.CreateString(value.data(), value.size()); }
  // Names of ops and fields repeat and stand in the bytes once.
  Offset<flatbuffers::String> shared(std::string_view value) {
    return builder_.CreateSharedString(value.data(), value.size());
  }
  Offset<flatbuffers::Vector<std::int64_t>> integers(std::span<const std::int64_t> values) {
    return builder_.CreateVector(values.data(), values.size());
  }

  Offset<fb::Graph> write_graph(const Graph& graph);
  Offset<fb::Input> write_input(const Graph& graph, const GraphInput& input);
  Offset<fb::Node> write_node(const Node& node);
  Offset<fb::Constant> write_constant(const ConstantData& constant);
  std::uint32_t blob_number(const std::shared_ptr<const Blob>& blob);

  FlatBufferBuilder builder_;
  BinaryGraph result_;
};

// Writes each field that it visits; a null subgraph or constant is a field without value.
class Writer::Fields final : public AttributeVisitor {
 public:
  explicit Fields(Writer& writer) : writer_(writer), builder_(writer.builder_) {}
  std::vector<Offset<fb::Field>> written;

  void field(const char* name, bool& v) override {
    put(name, fb::FieldValue::Boolean, fb::CreateBoolean(builder_, v).Union());
  }
  void field(const char* name, std::int64_t& v) override {
    put(name, fb::FieldValue::Integer, fb::CreateInteger(builder_, v).Union());
  }
  void field(const char* name, double& v) override {
    put(name, fb::FieldValue::Real, fb::CreateReal(builder_, v).Union());
  }
  void field(const char* name, DType& v) override {
    put(name, fb::FieldValue::ElementType, fb::CreateElementType(builder_, static_cast<std::uint8_t>(v)).Union());
  }
  void field(const char* name, Shape& v) override {
    put(name, fb::FieldValue::Extents, fb::CreateExtents(builder_, writer_.integers(v.dims())).Union());
  }
  void field(const char* name, Ints& v) override {
    put(name, fb::FieldValue::Integers, fb::CreateIntegers(builder_, writer_.integers(v)).Union());
  }
  void field(const char* name, GraphPtr& v) override {
    if (v)
      put(name, fb::FieldValue::Graph, writer_.write_graph(*v).Union());
    else
      put(name, fb::FieldValue::NONE, 0);
  }
  void field(const char* name, ConstantPtr& v) override {
    if (v)
      put(name, fb::FieldValue::Constant, writer_.write_constant(*v).Union());
    else
      put(name, fb::FieldValue::NONE, 0);
  }

 private:
  void put(const char* name, fb::FieldValue kind, Offset<void> value) {
    written.push_back(fb::CreateField(builder_, writer_.shared(name), kind, value));
  }

  Writer& writer_;
  FlatBufferBuilder& builder_;
};

std::uint32_t Writer::blob_number(const std::shared_ptr<const Blob>& blob) {
  for (std::size_t i = 0; i < result_.blobs.size(); ++i) {
    if (result_.blobs[i] == blob) return static_cast<std::uint32_t>(i);
  }
  result_.blobs.push_back(blob);
  return static_cast<std::uint32_t>(result_.blobs.size() - 1);
}

Offset<fb::Constant> Writer::write_constant(const ConstantData& constant) {
  const auto dtype = static_cast<std::uint8_t>(constant.dtype);
  const auto dims = integers(constant.shape.dims());
  const std::uint64_t length = constant.length();
  if (length <= kInlineConstantBytes) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(constant.bytes().data());
    return fb::CreateConstant(builder_, dtype, dims, builder_.CreateVector(data, length));
  }
  return fb::CreateConstant(builder_, dtype, dims, 0, blob_number(constant.blob), constant.offset, length);
}

Offset<fb::Input> Writer::write_input(const Graph& graph, const GraphInput& input) {
  const TensorType& type = graph.type(input.value);
  Offset<flatbuffers::Vector<Offset<fb::Symbol>>> symbols;
  if (!input.symbols.empty()) {
    std::vector<Offset<fb::Symbol>> names;
    for (const std::string& symbol : input.symbols) names.push_back(fb::CreateSymbol(builder_, text(symbol)));
    symbols = builder_.CreateVector(names);
  }
  const auto dims = integers(type.shape.dims());
  return fb::CreateInput(builder_, text(input.name), input.value, static_cast<std::uint8_t>(type.dtype), dims, symbols);
}

Offset<fb::Node> Writer::write_node(const Node& node) {
  Fields fields(*this);
  inspect(*node.attributes, fields);
  const auto inputs = builder_.CreateVector(node.inputs);
  const auto values = builder_.CreateVector(fields.written);
  return fb::CreateNode(builder_, shared(node.op->name), inputs, values);
}

Offset<fb::Graph> Writer::write_graph(const Graph& graph) {
  std::vector<Offset<fb::Input>> inputs;
  for (const GraphInput& input : graph.inputs()) inputs.push_back(write_input(graph, input));
  std::vector<Offset<fb::Node>> nodes;
  for (const Node& node : graph.nodes()) nodes.push_back(write_node(node));
  std::vector<Offset<fb::Output>> outputs;
  for (const GraphOutput& output : graph.outputs())
    outputs.push_back(fb::CreateOutput(builder_, text(output.name), output.value));
  std::vector<Offset<fb::Donation>> donations;
  for (const Donation& donation : graph.donations())
    donations.push_back(fb::CreateDonation(builder_, donation.input, donation.output));
  const auto name = text(graph.name);
  const auto all_inputs = builder_.CreateVector(inputs);
  const auto all_nodes = builder_.CreateVector(nodes);
  const auto all_outputs = builder_.CreateVector(outputs);
  return fb::CreateGraph(builder_, name, all_inputs, all_nodes, all_outputs, builder_.CreateVector(donations));
}

}  // namespace

BinaryGraph serialize(const Graph& graph) { return Writer().write(graph); }

}  // namespace ml
