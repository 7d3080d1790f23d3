#include "tests/onnx/hostile.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/formats/onnx/import.h"
#include "engine/formats/onnx/node.h"
#include "engine/formats/onnx/onnx.pb.h"
#include "engine/passes/passes.h"
#include "engine/runtime/evaluate.h"
#include "engine/runtime/resources.h"
#include "engine/runtime/staged_plan.h"
#include "engine/runtime/stream_context.h"

namespace ml::onnx_test {
namespace {

namespace pb = onnx::pb;

constexpr std::size_t kRunBytes = 1 << 20;  // of what is run: inputs and outputs together, and temporaries
constexpr double kRunFlops = 1e6;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
// clang-format off
constexpr std::int64_t kNumbers[] = {
    0, 1, -1, 2, -2, 3, 4, 5, 7, 8, 16, 32, 127, 255, 256, -128, 1000, 65536, 1 << 20, 1 << 24, 1 << 30,
    std::int64_t{1} << 31, std::int64_t{1} << 32, std::int64_t{1} << 40, kMost / 4, kMost / 2, kMost, -kMost, -kMost - 1};
// clang-format on
constexpr float kReals[] = {0,
                            1,
                            -1,
                            0.5F,
                            2,
                            1e-30F,
                            1e30F,
                            -1e30F,
                            std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};

class Mutator {
 public:
  Mutator(pb::Model& model, std::mt19937_64& random) : model_(model), random_(random) {
    collect(*model.mutable_graph());
  }

  void change() {
    switch (below(8)) {
      case 0: return versions();
      case 1: return graph();
      case 2: return inputs();
      case 3: return tensors();
      default: return node();
    }
  }

 private:
  std::size_t below(std::size_t end) { return random_() % end; }
  int some(int size) { return static_cast<int>(below(static_cast<std::size_t>(size))); }
  bool maybe() { return below(2) == 0; }
  std::int64_t number() { return kNumbers[below(std::size(kNumbers))]; }

  // Every graph, node and name of the model, those of subgraphs too.
  void collect(pb::Graph& graph) {
    graphs_.push_back(&graph);
    for (pb::Tensor& tensor : *graph.mutable_initializer()) {
      tensors_.push_back(&tensor);
      names_.push_back(tensor.name());
    }
    for (pb::SparseTensor& sparse : *graph.mutable_sparse_initializer()) {
      tensors_.push_back(sparse.mutable_values());
      tensors_.push_back(sparse.mutable_indices());
      names_.push_back(sparse.values().name());
    }
    for (const pb::ValueInfo& input : graph.input()) names_.push_back(input.name());
    for (pb::Node& node : *graph.mutable_node()) {
      nodes_.push_back(&node);
      names_.insert(names_.end(), node.output().begin(), node.output().end());
      for (pb::Attribute& attribute : *node.mutable_attribute()) {
        attributes_.push_back(&attribute);
        if (attribute.has_t()) tensors_.push_back(attribute.mutable_t());
        if (attribute.has_g()) collect(*attribute.mutable_g());
      }
    }
  }

  template <class List>
  auto* pick(List& list) {
    return list.empty() ? nullptr : list[below(list.size())];
  }
  const std::string& name() {
    static const std::string none;
    return names_.empty() || below(8) == 0 ? none : names_[below(names_.size())];
  }

  void versions() {
    if (model_.opset_import_size() == 0) model_.add_opset_import();
    model_.mutable_opset_import(some(model_.opset_import_size()))
        ->set_version(1 + static_cast<std::int64_t>(below(onnx::kLatestOpset)));
  }

  void graph() {
    pb::Graph& graph = *pick(graphs_);
    const int nodes = graph.node_size(), outputs = graph.output_size();
    switch (below(5)) {
      case 0:
        if (nodes > 1) graph.mutable_node()->SwapElements(0, some(nodes));
        if (nodes > 1) graph.mutable_node()->RemoveLast();
        break;
      case 1:
        if (outputs > 0) graph.mutable_output(0)->set_name(name());
        break;
      case 2:
        if (outputs > 1) graph.mutable_output()->RemoveLast();
        break;
      case 3: graph.add_output()->set_name(name()); break;
      case 4:  // an initializer of an input
        if (graph.input_size() > 0 && !tensors_.empty()) {
          const pb::Tensor copy = *pick(tensors_);
          *graph.add_initializer() = copy;
          graph.mutable_initializer(graph.initializer_size() - 1)->set_name(graph.input(0).name());
        }
        break;
    }
  }

  void inputs() {
    pb::Graph& graph = *pick(graphs_);
    if (graph.input_size() == 0) return;
    pb::ValueInfo& input = *graph.mutable_input(some(graph.input_size()));
    auto& type = *input.mutable_type()->mutable_tensor_type();
    auto& shape = *type.mutable_shape();
    if (below(4) == 0) return type.set_elem_type(1 + static_cast<int>(below(27)));
    if (below(4) == 0 && shape.dim_size() > 0) return shape.mutable_dim()->RemoveLast();
    if (below(4) == 0 || shape.dim_size() == 0) shape.add_dim();
    auto& dim = *shape.mutable_dim(some(shape.dim_size()));
    if (maybe())
      dim.set_dim_param(maybe() ? "N" : "M");
    else
      dim.set_dim_value(number());
  }

  void tensors() {
    pb::Tensor* tensor = pick(tensors_);
    if (tensor == nullptr) return;
    switch (below(6)) {
      case 0: return tensor->set_data_type(1 + static_cast<int>(below(27)));
      case 1:
        if (tensor->dims_size() > 0) return tensor->set_dims(some(tensor->dims_size()), number());
        break;
      case 2: return tensor->add_dims(number());
      case 3:
        if (tensor->dims_size() > 0) return tensor->mutable_dims()->RemoveLast();
        break;
      case 4: return tensor->set_data_location(some(3));
      default: break;
    }
    if (tensor->int64_data_size() > 0) return tensor->set_int64_data(some(tensor->int64_data_size()), number());
    if (tensor->int32_data_size() > 0)
      return tensor->set_int32_data(some(tensor->int32_data_size()), static_cast<std::int32_t>(number()));
    std::string& raw = *tensor->mutable_raw_data();
    if (tensor->data_type() == 7 && raw.size() >= 8) {
      const std::int64_t value = number();
      raw.replace(below(raw.size() / 8) * 8, 8, reinterpret_cast<const char*>(&value), 8);
    } else if (!raw.empty()) {
      raw[below(raw.size())] = static_cast<char>(random_());
    }
  }

  void node() {
    if (pick(nodes_) == nullptr) return;
    pb::Node& node = *pick(nodes_);
    switch (below(8)) {
      case 0: {
        const auto tables = onnx::operator_tables();
        const auto table = tables[below(tables.size())]();
        if (table.empty()) return;
        const onnx::Operator& row = table[below(table.size())];
        node.set_op_type(std::string(row.type));
        if (node.domain() == row.domain) return;
        node.set_domain(std::string(row.domain));
        pb::OperatorSet& set = *model_.add_opset_import();
        set.set_domain(node.domain());
        return set.set_version(row.domain.empty() ? onnx::kLatestOpset : row.until);
      }
      case 1:
        if (node.input_size() > 0) node.set_input(some(node.input_size()), name());
        return;
      case 2: return node.add_input(name());
      case 3:
        if (node.input_size() > 0) node.mutable_input()->RemoveLast();
        return;
      case 4:
        if (node.attribute_size() > 0) node.mutable_attribute()->RemoveLast();
        return;
      case 5: {  // an attribute that a node of this model has
        const pb::Attribute* other = pick(attributes_);
        if (other == nullptr) return;
        const pb::Attribute copy = *other;
        *node.add_attribute() = copy;
        return;
      }
      default:
        if (node.attribute_size() > 0) attribute(*node.mutable_attribute(some(node.attribute_size())));
    }
  }

  void attribute(pb::Attribute& attribute) {
    if (attribute.has_i()) return attribute.set_i(number());
    if (attribute.has_f()) return attribute.set_f(kReals[below(std::size(kReals))]);
    if (attribute.floats_size() > 0)
      return attribute.set_floats(some(attribute.floats_size()), kReals[below(std::size(kReals))]);
    if (attribute.ints_size() == 0) return;
    if (maybe()) return attribute.set_ints(some(attribute.ints_size()), number());
    if (maybe()) return attribute.add_ints(number());
    attribute.mutable_ints()->RemoveLast();
  }

  pb::Model& model_;
  std::mt19937_64& random_;
  std::vector<pb::Graph*> graphs_;
  std::vector<pb::Node*> nodes_;
  std::vector<pb::Attribute*> attributes_;
  std::vector<pb::Tensor*> tensors_;
  std::vector<std::string> names_;
};

// Gives every value of a graph another name, in its subgraphs too.
class Renamed {
 public:
  // `value` becomes `name`; the others get a mark.
  Renamed(std::string value, std::string name) : value_(std::move(value)), name_(std::move(name)) {}

  void apply(pb::Graph& graph) const {
    for (pb::Tensor& tensor : *graph.mutable_initializer()) rename(*tensor.mutable_name());
    for (pb::SparseTensor& sparse : *graph.mutable_sparse_initializer())
      rename(*sparse.mutable_values()->mutable_name());
    for (pb::ValueInfo& input : *graph.mutable_input()) rename(*input.mutable_name());
    for (pb::ValueInfo& output : *graph.mutable_output()) rename(*output.mutable_name());
    for (pb::Node& node : *graph.mutable_node()) {
      for (std::string& input : *node.mutable_input()) rename(input);
      for (std::string& output : *node.mutable_output()) rename(output);
      for (pb::Attribute& attribute : *node.mutable_attribute()) {
        if (attribute.has_g()) apply(*attribute.mutable_g());
      }
    }
  }

 private:
  void rename(std::string& name) const {
    if (name == value_)
      name = name_;
    else if (!name.empty())
      name += '\'';
  }

  std::string value_, name_;
};

std::string bytes_changed(std::string bytes, std::mt19937_64& random) {
  if (bytes.empty()) return std::string(1, static_cast<char>(random()));
  switch (random() % 3) {
    case 0: bytes[random() % bytes.size()] = static_cast<char>(random()); break;
    case 1: bytes.resize(random() % bytes.size()); break;
    default: bytes.insert(random() % bytes.size(), 1, static_cast<char>(random()));
  }
  return bytes;
}

// Truths of both kinds and small numbers, which may be indices and extents too.
HostTensor values_of(const TensorType& type) {
  const std::size_t count = static_cast<std::size_t>(type.shape.elements()), size = dtype_size(type.dtype);
  HostTensor tensor{type.dtype, type.shape, std::vector<std::byte>(count * size)};
  for (std::size_t i = 0; i < count; ++i) {
    if (is_floating(type.dtype))
      tensor.bytes[(i + 1) * size - 1] = static_cast<std::byte>(i % 3 == 0 ? 0 : 0x3f);
    else
      tensor.bytes[i * size] = static_cast<std::byte>(i % (type.dtype == DType::boolean ? 2 : 3));
  }
  return tensor;
}

// What a run reads, writes and computes, without its temporaries; infinite where that is open: values decide an extent,
// or there is control flow.
Cost run_cost(const Graph& graph, const runtime::StagedPlan& plan) {
  const auto control = [](const Node& node) { return node.op->kind == OpKind::control; };
  const double open = std::numeric_limits<double>::infinity();
  if (!graph.bound() || std::ranges::any_of(graph.nodes(), control)) return {open, open};
  Cost cost{plan.first().cost().flops, 0};
  const auto add = [&cost](const TensorType& type) {
    cost.bytes += static_cast<double>(type.shape.elements()) * static_cast<double>(dtype_size(type.dtype));
  };
  std::ranges::for_each(plan.inputs(), add);
  std::ranges::for_each(plan.outputs(), add);
  return cost;
}

// Plans a bound graph, and runs it where that takes little.
void plan_and_run(const Graph& graph, const passes::Evaluate& evaluate) {
  const std::shared_ptr<Device> device = create_reference_device();
  runtime::ProgramResources resources(*device);
  const auto plan = runtime::make_staged_plan(graph, resources, {evaluate, [] {}, kRunBytes});
  const Cost cost = run_cost(graph, *plan);
  if (cost.bytes > kRunBytes || cost.flops > kRunFlops) return;
  std::vector<HostTensor> inputs;
  for (const TensorType& type : plan->inputs()) inputs.push_back(values_of(type));
  runtime::StreamContext context(*device);
  runtime::run_plan(*plan, context, inputs);
}

}  // namespace

std::string mutated(const std::string& model, std::mt19937_64& random) {
  pb::Model parsed;
  if (random() % 8 == 0 || !parsed.ParseFromString(model)) return bytes_changed(model, random);
  Mutator(parsed, random).change();
  return parsed.SerializeAsString();
}

std::string joined(const std::string& first, const std::string& second, std::mt19937_64& random) {
  pb::Model model, other;
  if (!model.ParseFromString(first) || !other.ParseFromString(second)) return first;
  pb::Graph& graph = *model.mutable_graph();
  pb::Graph& rest = *other.mutable_graph();
  std::string taken, given;
  if (rest.input_size() > 0 && graph.output_size() > 0) {
    auto& inputs = *rest.mutable_input();
    inputs.SwapElements(static_cast<int>(random() % static_cast<std::size_t>(inputs.size())), inputs.size() - 1);
    taken = inputs[inputs.size() - 1].name();
    given = graph.output(static_cast<int>(random() % static_cast<std::size_t>(graph.output_size()))).name();
    inputs.RemoveLast();
  }
  Renamed(taken, given).apply(rest);
  graph.MergeFrom(rest);
  model.mutable_functions()->MergeFrom(other.functions());
  return model.SerializeAsString();
}

void import_and_run(std::span<const std::byte> model) {
  static const passes::Evaluate evaluate = runtime::reference_evaluate();
  const Graph graph = onnx::import_model(Blob::copy_of(model), evaluate);
  std::vector<Shape> shapes;
  for (const GraphInput& input : graph.inputs()) {
    Shape& shape = shapes.emplace_back();
    for (const std::int64_t extent : graph.type(input.value).shape.dims())
      shape.append(extent == kUnknown ? 2 : extent);
  }
  Graph bound = passes::bind(graph, shapes, evaluate);
  verify(bound);
  bound = passes::simplify(bound, evaluate);
  verify(bound);
  plan_and_run(bound, evaluate);
}

}  // namespace ml::onnx_test
