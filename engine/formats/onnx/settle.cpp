#include "engine/formats/onnx/settle.h"

#include <algorithm>
#include <string>

#include "ml/error.h"

namespace ml::onnx {
namespace {

constexpr std::uint64_t kFoldBytes = 64 * 1024;  // results of constant expressions that are computed at once
constexpr double kFoldFlops = 1e8;               // what computing one may take: this runs on plain loops

}  // namespace

void Budget::charge(std::int64_t more) {
  nodes -= more;
  if (nodes >= 0) return;
  throw Error(Code::unsupported,
              "with every call and every turn of a loop written out the model has more nodes than its file may ask "
              "for: 65536, and one for every two bytes up to 2^20");
}

Var Settler::settled(Var var) {
  const std::size_t last = graph_.nodes().size();
  settle(next_, last);
  next_ = graph_.nodes().size();
  return current(var);
}

// What a node is replaced by is settled before the next one is looked at, so each is looked at once.
void Settler::settle(std::size_t first, std::size_t last) {
  for (std::size_t i = first; i < last; ++i) {
    const Node node = graph_.nodes()[i];
    std::vector<Var> inputs, outputs;
    std::vector<ValueId> ids;
    std::vector<const ConstantData*> constants;
    for (const ValueId input : node.inputs) {
      inputs.push_back(current({&graph_, input}));
      ids.push_back(inputs.back().id);
      constants.push_back(graph_.constant(ids.back()));
    }
    const std::size_t before = graph_.nodes().size();
    if (node.op->specialize != nullptr) {
      outputs = node.op->specialize({graph_, inputs, {}, {}, node.attributes}, constants);
      settle(before, graph_.nodes().size());
    }
    // Bodies were made for the types of the operands that they have.
    if (outputs.empty() && ids != node.inputs && node.op->kind != OpKind::control) {
      const ValueId first_output = graph_.add(*node.op, node.attributes, ids);
      for (std::uint32_t k = 0; k < node.output_count; ++k) outputs.push_back({&graph_, first_output + k});
    }
    if (node.op->specialize == nullptr) {
      std::vector<Var> computed = compute(outputs.empty() ? node : Node(graph_.nodes().back()));
      if (!computed.empty()) outputs = std::move(computed);
    }
    for (std::uint32_t k = 0; k < outputs.size(); ++k) replaced_[node.output(k)] = current(outputs[k]).id;
  }
}

Var Settler::current(Var var) const {
  for (auto found = replaced_.find(var.id); found != replaced_.end(); found = replaced_.find(var.id))
    var.id = found->second;
  return var;
}

// A small iota is as good as a constant where it meets others, and better than one where it stays.
ConstantPtr Settler::constant_of(Var var) {
  const Node* producer = graph_.producer(var.id);
  if (producer == nullptr) return nullptr;
  if (producer->op->kind == OpKind::constant) return producer->as<ConstantAttributes>().value;
  if (producer->op->kind != OpKind::movement || !producer->inputs.empty() || !small(*producer)) return nullptr;
  return evaluate_(graph_, *producer, {}).front();
}

bool Settler::small(const Node& node) const {
  for (std::uint32_t k = 0; k < node.output_count; ++k) {
    const TensorType& type = graph_.type(node.output(k));
    if (!type.shape.known()) return false;
    if (static_cast<std::uint64_t>(type.shape.elements()) > kFoldBytes / dtype_size(type.dtype)) return false;
  }
  return true;
}

// The constants that a node of constants answers; nothing when it is none or too large.
std::vector<Var> Settler::compute(const Node& node) {
  const OpKind kind = node.op->kind;
  if (node.inputs.empty() || kind == OpKind::random || kind == OpKind::control || !small(node) || budget_.folded < 0)
    return {};
  std::vector<ConstantPtr> constants;
  for (const ValueId input : node.inputs) {
    constants.push_back(constant_of({&graph_, input}));
    if (constants.back() == nullptr) return {};
  }
  std::vector<TensorType> outputs;
  for (std::uint32_t k = 0; k < node.output_count; ++k) outputs.push_back(graph_.type(node.output(k)));
  if (cost(*node.op, types_of(graph_, node.inputs), outputs, *node.attributes).flops > kFoldFlops) return {};
  std::vector<Var> results;
  for (ConstantPtr& computed : evaluate_(graph_, node, constants)) {
    budget_.folded -= static_cast<std::int64_t>(computed->length());
    results.push_back(constant(graph_, std::move(computed)));
  }
  return results;
}

}  // namespace ml::onnx
