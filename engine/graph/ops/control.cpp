// Control flow: rows that carry closed subgraphs. control.h says what the bodies take and answer.
#include "engine/graph/ops/control.h"

#include <algorithm>

#include "engine/graph/build_control.h"
#include "engine/graph/ops/differentiate.h"
#include "engine/graph/ops/families.h"
#include "engine/graph/ops/rules.h"

namespace ml {
namespace {

using Args = const RuleArguments&;
using Types = std::vector<TensorType>;

Types input_types(const Graph& body) {
  Types types;
  for (const GraphInput& in : body.inputs()) types.push_back(body.type(in.value));
  return types;
}
Types output_types(const Graph& body) {
  Types types;
  for (const GraphOutput& out : body.outputs()) types.push_back(body.type(out.value));
  return types;
}

const Graph& body_of(const InferArguments& a, const GraphPtr& body, const char* name) {
  if (!body) rules::fail(a, std::string("its ") + name + " is missing");
  if (body->outputs().empty()) rules::fail(a, std::string("its ") + name + " has no outputs");
  return *body;
}

// `got` and `wanted` agree where their extents are known.
void check_types(const InferArguments& a, const std::string& what, std::span<const TensorType> got,
                 std::span<const TensorType> wanted) {
  if (got.size() != wanted.size()) {
    rules::fail(a, what + ": " + std::to_string(got.size()) + " values, wanted " + std::to_string(wanted.size()));
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i].dtype == wanted[i].dtype && rules::same_shape(got[i].shape, wanted[i].shape)) continue;
    rules::fail(a,
                what + " " + std::to_string(i) + " is " + rules::text(got[i]) + ", wanted " + rules::text(wanted[i]));
  }
}

// What is known of a value that is one or the other; their ranks agree already.
TensorType join(const TensorType& a, const TensorType& b) {
  TensorType result = a;
  for (int i = 0; i < result.shape.rank(); ++i) {
    if (result.shape[i] != b.shape[i]) result.shape[i] = kUnknown;
  }
  return result;
}

Types infer_call(const InferArguments& a) {
  const Graph& body = body_of(a, a.as<BodyAttributes>().body, "body");
  check_types(a, "argument", a.inputs, input_types(body));
  return output_types(body);
}

Types infer_if(const InferArguments& a) {
  const auto& attributes = a.as<IfAttributes>();
  const Graph& then_body = body_of(a, attributes.then_body, "then_body");
  const Graph& else_body = body_of(a, attributes.else_body, "else_body");
  rules::want_boolean(a, 0);
  rules::want_rank(a, 0, 0);
  check_types(a, "captured value", a.inputs.subspan(1), input_types(then_body));
  check_types(a, "captured value", a.inputs.subspan(1), input_types(else_body));
  Types results = output_types(then_body);
  const Types other = output_types(else_body);
  if (other.size() != results.size()) {
    rules::fail(
        a, "its bodies answer " + std::to_string(results.size()) + " and " + std::to_string(other.size()) + " values");
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (other[i].dtype != results[i].dtype || other[i].shape.rank() != results[i].shape.rank()) {
      rules::fail(a, "output " + std::to_string(i) + " of the else_body is " + rules::text(other[i]) +
                         ", of the then_body " + rules::text(results[i]));
    }
    results[i] = join(results[i], other[i]);
  }
  return results;
}

void check_count(const InferArguments& a, std::int64_t count, std::size_t most, const char* name) {
  if (count < 0 || static_cast<std::uint64_t>(count) > most) {
    rules::fail(
        a, std::string(name) + " is " + std::to_string(count) + " with " + std::to_string(a.inputs.size()) + " inputs");
  }
}

Types infer_while(const InferArguments& a) {
  const auto& attributes = a.as<WhileAttributes>();
  const Graph& condition = body_of(a, attributes.condition, "condition");
  const Graph& body = body_of(a, attributes.body, "body");
  check_count(a, attributes.carried, a.inputs.size(), "carried");
  check_types(a, "input of the condition", a.inputs, input_types(condition));
  check_types(a, "input of the body", a.inputs, input_types(body));
  const TensorType boolean{DType::boolean, {}};
  check_types(a, "output of the condition", output_types(condition), std::span(&boolean, 1));
  const std::span<const TensorType> carried = a.inputs.first(static_cast<std::size_t>(attributes.carried));
  Types results = output_types(body);
  check_types(a, "output of the body", results, carried);
  for (std::size_t i = 0; i < results.size(); ++i) results[i] = join(results[i], carried[i]);
  return results;
}

Types infer_scan(const InferArguments& a) {
  const auto& attributes = a.as<ScanAttributes>();
  const Graph& body = body_of(a, attributes.body, "body");
  check_count(a, attributes.carried, a.inputs.size(), "carried");
  const auto carried = static_cast<std::size_t>(attributes.carried);
  check_count(a, attributes.scanned, a.inputs.size() - carried, "scanned");
  const auto scanned = static_cast<std::size_t>(attributes.scanned);
  if (attributes.length < kUnknown) rules::fail(a, "its length is " + std::to_string(attributes.length));
  if (attributes.length == kUnknown && scanned == 0) rules::fail(a, "wants a length, because nothing is scanned");

  std::int64_t length = attributes.length;
  Types turn(a.inputs.begin(), a.inputs.end());  // what the body takes
  for (std::size_t i = carried; i < carried + scanned; ++i) {
    const Shape& shape = a.shape(i);
    if (shape.rank() == 0) rules::fail(a, "cannot take slices of a scalar, input " + std::to_string(i));
    if (!rules::same_extent(shape[0], length)) {
      rules::fail(a, "input " + std::to_string(i) + " has " + std::to_string(shape[0]) + " slices, wanted " +
                         std::to_string(length));
    }
    if (length == kUnknown) length = shape[0];
    turn[i].shape = Shape(shape.dims().subspan(1));
  }
  check_types(a, "input of the body", turn, input_types(body));
  Types results = output_types(body);
  if (results.size() < carried)
    rules::fail(a, "its body answers " + std::to_string(results.size()) + " values, of which " +
                       std::to_string(carried) + " are carried");
  check_types(a, "carried output of the body", std::span(results).first(carried), a.inputs.first(carried));
  for (std::size_t i = 0; i < carried; ++i) results[i] = join(results[i], a.inputs[i]);
  for (std::size_t i = carried; i < results.size(); ++i) {
    Shape stacked{length};
    for (const std::int64_t extent : results[i].shape.dims()) stacked.append(extent);
    results[i].shape = stacked;
  }
  return results;
}

Types infer_fused(const InferArguments& a) {
  const Graph& body = body_of(a, a.as<BodyAttributes>().body, "body");
  for (const Node& node : body.nodes()) {
    const bool allowed = node.op->kind == OpKind::elementwise || node.op->kind == OpKind::constant ||
                         node.op->kind == OpKind::reduction || node.op->name == "broadcast_to";
    if (!allowed) rules::fail(a, "its body cannot hold " + std::string(node.op->name));
    for (const ValueId input : node.inputs) {
      const Node* producer = body.producer(input);
      if (producer != nullptr && producer->op->kind == OpKind::reduction)
        rules::fail(a, "its body cannot hold " + std::string(node.op->name) + " after a reduction");
    }
  }
  check_types(a, "input", a.inputs, input_types(body));
  return output_types(body);
}

// Gradients.

std::vector<Var> vars(Graph& graph, std::span<const ValueId> ids) {
  std::vector<Var> result;
  for (const ValueId id : ids) result.push_back({&graph, id});
  return result;
}

// The cotangents that there are, of floating outputs.
std::vector<Var> present_cotangents(Args a) {
  std::vector<Var> present;
  for (const Var& c : a.cotangents) {
    if (c && is_differentiable(c.dtype())) present.push_back(c);
  }
  return present;
}

// `operands` and then the cotangents.
std::vector<Var> with_cotangents(Args a, std::span<const Var> operands) {
  std::vector<Var> all(operands.begin(), operands.end());
  const std::vector<Var> cotangents = present_cotangents(a);
  all.insert(all.end(), cotangents.begin(), cotangents.end());
  return all;
}

std::vector<Var> gradient_call(Args a) {
  auto derived =
      std::make_shared<const Graph>(gradient_graph(*a.as<BodyAttributes>().body, valid_flags(a.cotangents), a.wanted));
  if (derived->outputs().empty()) return std::vector<Var>(a.inputs.size());
  return spread_gradients(a, call(std::move(derived), with_cotangents(a, a.inputs)));
}

std::vector<Var> gradient_if(Args a) {
  const auto& attributes = a.as<IfAttributes>();
  const std::vector<std::uint8_t> seeded = valid_flags(a.cotangents);
  const std::span<const std::uint8_t> wanted = a.wanted.empty() ? a.wanted : a.wanted.subspan(1);
  auto then_body = std::make_shared<const Graph>(gradient_graph(*attributes.then_body, seeded, wanted));
  auto else_body = std::make_shared<const Graph>(gradient_graph(*attributes.else_body, seeded, wanted));
  if (then_body->outputs().empty()) return std::vector<Var>(a.inputs.size());
  return spread_gradients(
      a, if_else(a.inputs[0], std::move(then_body), std::move(else_body), with_cotangents(a, a.inputs.subspan(1))));
}

// A scan's gradient: one scan forwards to save what each turn began with, one backwards through the turns that carries
// the cotangents of the carried values and sums up those of the captured ones (as in JAX's lax.scan).
class ScanGradient {
 public:
  explicit ScanGradient(Args a)
      : a_(a),
        attributes_(a.as<ScanAttributes>()),
        body_(*attributes_.body),
        carried_(static_cast<std::size_t>(attributes_.carried)),
        scanned_(static_cast<std::size_t>(attributes_.scanned)) {}

  std::vector<Var> run() {
    for (std::size_t i = 0; i < a_.inputs.size(); ++i) {
      const bool floating = is_differentiable(a_.inputs[i].dtype());
      differentiated_.push_back(floating && (i < carried_ || a_.wanted.empty() || a_.wanted[i] != 0));
    }
    for (std::size_t i = 0; i < a_.outputs.size(); ++i) {
      const bool floating = is_differentiable(a_.outputs[i].dtype());
      seeded_.push_back(floating && (i < carried_ || bool(a_.cotangents[i])));
    }
    if (std::ranges::none_of(differentiated_, [](std::uint8_t flag) { return flag != 0; }))
      return std::vector<Var>(a_.inputs.size());
    return backwards(saved_carries());
  }

 private:
  std::span<const Var> initial() const { return a_.inputs.first(carried_); }
  std::span<const Var> slices() const { return a_.inputs.subspan(carried_, scanned_); }
  std::span<const Var> captured() const { return a_.inputs.subspan(carried_ + scanned_); }

  std::vector<Var> saved_carries() const {
    if (carried_ == 0) return {};
    auto saving = std::make_shared<Graph>();
    saving->name = body_.name + "_saving";
    std::vector<ValueId> ids;
    for (const GraphInput& in : body_.inputs()) ids.push_back(saving->add_input(in.name, body_.type(in.value)));
    const std::vector<ValueId> results = inline_graph(*saving, body_, ids);
    for (std::size_t i = 0; i < carried_; ++i) saving->add_output("next" + std::to_string(i), results[i]);
    for (std::size_t i = 0; i < carried_; ++i) saving->add_output("saved" + std::to_string(i), ids[i]);
    std::vector<Var> all = scan(std::move(saving), initial(), slices(), captured(),
                                {.length = attributes_.length, .reverse = attributes_.reverse});
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(carried_));
    return all;
  }

  // Inputs: cotangents of carried values, sums for captured ones | saved carries, slices, slices of the cotangents of
  // what was stacked | captured. Outputs: the first two advanced | cotangents of slices.
  std::vector<Var> backwards(const std::vector<Var>& saved) const {
    const Graph derived = gradient_graph(body_, seeded_, differentiated_);
    auto turn = std::make_shared<Graph>();
    turn->name = derived.name;
    const auto add_input = [&turn](const char* name, std::size_t i, const TensorType& type) {
      return turn->add_input(name + std::to_string(i), type);
    };
    std::vector<Var> carries, sliced(saved);
    std::vector<ValueId> cotangents, sums;
    for (std::size_t i = 0; i < carried_; ++i) {
      if (seeded_[i] == 0) continue;
      carries.push_back(a_.cotangents[i] ? a_.cotangents[i] : zeros_like(a_.outputs[i]));
      cotangents.push_back(add_input("d", i, a_.outputs[i].type()));
    }
    const std::size_t carried_cotangents = cotangents.size();
    for (std::size_t i = carried_ + scanned_; i < a_.inputs.size(); ++i) {
      if (differentiated_[i] == 0) continue;
      carries.push_back(zeros_like(a_.inputs[i]));
      sums.push_back(add_input("sum", i, a_.inputs[i].type()));
    }
    std::vector<ValueId> values;  // of the body's inputs
    for (std::size_t i = 0; i < carried_ + scanned_; ++i)
      values.push_back(add_input("x", i, body_.type(body_.inputs()[i].value)));
    sliced.insert(sliced.end(), slices().begin(), slices().end());
    for (std::size_t i = carried_; i < a_.outputs.size(); ++i) {
      if (seeded_[i] == 0) continue;
      sliced.push_back(a_.cotangents[i]);
      cotangents.push_back(add_input("d", i, body_.type(body_.outputs()[i].value)));
    }
    for (std::size_t i = carried_ + scanned_; i < a_.inputs.size(); ++i)
      values.push_back(add_input("x", i, a_.inputs[i].type()));

    values.insert(values.end(), cotangents.begin(), cotangents.end());
    const std::vector<Var> gradients = vars(*turn, inline_graph(*turn, derived, values));
    const std::size_t slice_gradients = gradients.size() - carried_cotangents - sums.size();
    std::size_t number = 0;
    const auto add_output = [&](Var value) { output("g" + std::to_string(number++), value); };
    for (std::size_t i = 0; i < carried_cotangents; ++i) add_output(gradients[i]);
    for (std::size_t i = 0; i < sums.size(); ++i)
      add_output(add({turn.get(), sums[i]}, gradients[carried_cotangents + slice_gradients + i]));
    for (std::size_t i = 0; i < slice_gradients; ++i) add_output(gradients[carried_cotangents + i]);

    const std::vector<Var> results = scan(std::move(turn), carries, sliced, captured(),
                                          {.length = attributes_.length, .reverse = !attributes_.reverse});
    // Back into the order of the inputs: carried, slices, captured.
    std::vector<Var> answer(a_.inputs.size());
    std::size_t carry = 0, stacked = carries.size();
    for (std::size_t i = 0; i < a_.inputs.size(); ++i) {
      if (differentiated_[i] == 0) continue;
      const bool is_slice = i >= carried_ && i < carried_ + scanned_;
      answer[i] = results[is_slice ? stacked++ : carry++];
    }
    return answer;
  }

  Args a_;
  const ScanAttributes& attributes_;
  const Graph& body_;
  std::size_t carried_, scanned_;
  std::vector<std::uint8_t> differentiated_, seeded_;  // per input, per output
};

// The branch that a known condition takes.
std::vector<Var> specialize_if(Args a, std::span<const ConstantData* const> constants) {
  if (constants[0] == nullptr) return {};
  const auto& attributes = a.as<IfAttributes>();
  const Graph& taken = element_as_int(*constants[0], 0) != 0 ? *attributes.then_body : *attributes.else_body;
  std::vector<ValueId> captured;
  for (const Var& x : a.inputs.subspan(1)) captured.push_back(x.id);
  return vars(a.graph, inline_graph(a.graph, taken, captured));
}

double flops_of(const Graph& body) {
  double total = 0;
  for (const Node& node : body.nodes()) {
    Types outputs;
    for (std::uint32_t i = 0; i < node.output_count; ++i) outputs.push_back(body.type(node.output(i)));
    total += cost(*node.op, types_of(body, node.inputs), outputs, *node.attributes).flops;
  }
  return total;
}

using Outputs = std::span<const TensorType>;
double flops_body(const InferArguments& a, Outputs) { return flops_of(*a.as<BodyAttributes>().body); }
double flops_if(const InferArguments& a, Outputs) {
  const auto& attributes = a.as<IfAttributes>();
  return std::max(flops_of(*attributes.then_body), flops_of(*attributes.else_body));
}
// Of one turn: nobody knows how many there will be.
double flops_while(const InferArguments& a, Outputs) {
  const auto& attributes = a.as<WhileAttributes>();
  return flops_of(*attributes.condition) + flops_of(*attributes.body);
}
double flops_scan(const InferArguments& a, Outputs) {
  const auto& attributes = a.as<ScanAttributes>();
  const std::int64_t length =
      attributes.length != kUnknown ? attributes.length : a.shape(static_cast<std::size_t>(attributes.carried))[0];
  return static_cast<double>(length) * flops_of(*attributes.body);
}

const Op kOps[] = {
    {.name = "call",
     .kind = OpKind::control,
     .min_inputs = 0,
     .max_inputs = kVariadic,
     .infer = infer_call,
     .gradient = gradient_by(gradient_call),
     .make_attributes = attributes_of<BodyAttributes>,
     .flops = flops_body},
    {.name = "if",
     .kind = OpKind::control,
     .min_inputs = 1,
     .max_inputs = kVariadic,
     .infer = infer_if,
     .gradient = gradient_by(gradient_if),
     .make_attributes = attributes_of<IfAttributes>,
     .specialize = specialize_if,
     .flops = flops_if},
    {.name = "while",
     .kind = OpKind::control,
     .min_inputs = 1,
     .max_inputs = kVariadic,
     .infer = infer_while,
     .gradient = no_gradient("the number of its turns is not known beforehand; use scan"),
     .make_attributes = attributes_of<WhileAttributes>,
     .flops = flops_while},
    {.name = "scan",
     .kind = OpKind::control,
     .min_inputs = 1,
     .max_inputs = kVariadic,
     .infer = infer_scan,
     .gradient = gradient_by([](Args a) { return ScanGradient(a).run(); }),
     .make_attributes = attributes_of<ScanAttributes>,
     .flops = flops_scan},
    {.name = "fused",
     .kind = OpKind::composite,
     .min_inputs = 0,
     .max_inputs = kVariadic,
     .infer = infer_fused,
     .gradient = no_gradient("it is made after autodiff"),
     .make_attributes = attributes_of<BodyAttributes>,
     .decompose = [](Args a) -> std::vector<Var> {
       std::vector<ValueId> inputs;
       for (const Var& x : a.inputs) inputs.push_back(x.id);
       return vars(a.graph, inline_graph(a.graph, *a.as<BodyAttributes>().body, inputs));
     },
     .flops = flops_body},
};

AttributesPtr body_attributes(GraphPtr body) {
  auto attributes = std::make_shared<BodyAttributes>();
  attributes->body = std::move(body);
  return attributes;
}

std::vector<Var> joined(std::initializer_list<std::span<const Var>> parts) {
  std::vector<Var> all;
  for (const std::span<const Var> part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace

std::span<const Op> control_ops() { return kOps; }

std::vector<Var> call(GraphPtr body, std::span<const Var> arguments) {
  return emit_all("call", arguments, body_attributes(std::move(body)));
}

std::vector<Var> if_else(Var condition, GraphPtr then_body, GraphPtr else_body, std::span<const Var> captured) {
  auto attributes = std::make_shared<IfAttributes>();
  attributes->then_body = std::move(then_body);
  attributes->else_body = std::move(else_body);
  return emit_all("if", joined({std::span(&condition, 1), captured}), std::move(attributes));
}

std::vector<Var> while_loop(GraphPtr condition, GraphPtr body, std::span<const Var> carried,
                            std::span<const Var> captured) {
  auto attributes = std::make_shared<WhileAttributes>();
  attributes->condition = std::move(condition);
  attributes->body = std::move(body);
  attributes->carried = static_cast<std::int64_t>(carried.size());
  return emit_all("while", joined({carried, captured}), std::move(attributes));
}

std::vector<Var> scan(GraphPtr body, std::span<const Var> carried, std::span<const Var> scanned,
                      std::span<const Var> captured, ScanOptions options) {
  auto attributes = std::make_shared<ScanAttributes>();
  attributes->body = std::move(body);
  attributes->carried = static_cast<std::int64_t>(carried.size());
  attributes->scanned = static_cast<std::int64_t>(scanned.size());
  attributes->length = options.length;
  attributes->reverse = options.reverse;
  return emit_all("scan", joined({carried, scanned, captured}), std::move(attributes));
}

std::vector<Var> scan(const Turn& turn, std::span<const Var> carried, std::span<const Var> scanned,
                      std::span<const Var> captured, ScanOptions options) {
  auto body = std::make_shared<Graph>();
  body->name = "turn";
  std::vector<Var> inputs;
  const auto add_input = [&](DType dtype, const Shape& shape) {
    const std::string name = "x" + std::to_string(inputs.size());
    std::vector<std::string> symbols;
    for (const std::int64_t extent : shape.dims())
      symbols.push_back(extent == kUnknown ? name + "." + std::to_string(symbols.size()) : "");
    if (shape.known()) symbols.clear();
    inputs.push_back({body.get(), body->add_input(name, {dtype, shape}, std::move(symbols))});
  };
  for (const Var& x : carried) add_input(x.dtype(), x.shape());
  for (const Var& x : scanned) {
    if (x.rank() == 0) throw Error(Code::invalid_argument, "scan: cannot take slices of a scalar");
    add_input(x.dtype(), Shape(x.shape().dims().subspan(1)));
  }
  for (const Var& x : captured) add_input(x.dtype(), x.shape());
  const std::span<const Var> all(inputs);
  const std::vector<Var> results = turn(all.first(carried.size()), all.subspan(carried.size(), scanned.size()),
                                        all.subspan(carried.size() + scanned.size()));
  for (std::size_t i = 0; i < results.size(); ++i) output("y" + std::to_string(i), results[i]);
  return scan(GraphPtr(std::move(body)), carried, scanned, captured, options);
}

std::vector<Var> fused(GraphPtr body, std::span<const Var> inputs) {
  return emit_all("fused", inputs, body_attributes(std::move(body)));
}

}  // namespace ml
