#include "engine/formats/onnx/target.h"

#include <algorithm>
#include <memory>
#include <string>

#include "ml/error.h"

namespace ml::onnx {
Var Target::here(Var value) {
  if (!value) return value;
  if (value.graph == &graph) return settler_.settled(value);
  if (outer_ == nullptr) throw Error(Code::internal, "a value of a graph that this one does not stand in");
  const Var outside = outer_->here(value);
  const auto [found, missing] = brought_.try_emplace(outside.id);
  if (!missing) return found->second;
  const Node* producer = outer_->graph.producer(outside.id);
  if (producer != nullptr && producer->op->kind == OpKind::constant) {
    found->second = constant(graph, producer->as<ConstantAttributes>().value);
  } else {
    found->second = {&graph, graph.add_input("captured" + std::to_string(captured_.size()), outside.type())};
    captured_.push_back(outside);
  }
  return found->second;
}

Value Target::here(const Value& value) {
  Value result = value;
  result.tensor = here(value.tensor);
  for (Value& element : result.elements) element = here(element);
  return result;
}

void Target::charge(std::int64_t more) {
  budget_.charge(more + static_cast<std::int64_t>(graph.nodes().size() - charged_));
  charged_ = graph.nodes().size();
}

ImportedBody finish(Target& target, std::span<const Var> results) {
  for (const Var& result : results)
    target.graph.add_output("result" + std::to_string(target.graph.outputs().size()), target.here(result).id);
  ImportedBody body{passes::eliminate_dead_code(target.graph), target.graph.inputs().size() - target.captured().size(),
                    target.captured()};
  const std::vector<std::uint32_t> uses = use_counts(body.graph);
  for (std::size_t i = 0; i < body.captured.size(); ++i) {
    if (uses[body.graph.inputs()[body.arguments + i].value] == 0) body.captured[i] = {};
  }
  return body;
}

std::vector<Var> captured_by(std::span<const ImportedBody* const> bodies) {
  std::vector<Var> all;
  for (const ImportedBody* body : bodies) {
    for (const Var& value : body->captured) {
      if (value && std::ranges::find(all, value.id, &Var::id) == all.end()) all.push_back(value);
    }
  }
  return all;
}

GraphPtr close(const ImportedBody& body, std::span<const Var> captured, std::span<const TensorType> ignored,
               std::size_t unread) {
  auto closed = std::make_shared<Graph>();
  closed->name = body.graph.name;
  std::vector<ValueId> values(unread, kNoValue), outside;
  for (std::size_t i = unread; i < body.arguments; ++i) {
    const GraphInput& in = body.graph.inputs()[i];
    values.push_back(closed->add_input(in.name, body.graph.type(in.value)));
  }
  for (const TensorType& type : ignored) closed->add_input("ignored" + std::to_string(closed->inputs().size()), type);
  for (const Var& value : captured)
    outside.push_back(closed->add_input("captured" + std::to_string(outside.size()), value.type()));
  for (const Var& value : body.captured) {
    const auto at = std::ranges::find(captured, value.id, &Var::id);
    values.push_back(value ? outside[static_cast<std::size_t>(at - captured.begin())] : kNoValue);
  }
  const std::vector<ValueId> results = inline_graph(*closed, body.graph, values);
  for (std::size_t i = 0; i < results.size(); ++i) closed->add_output(body.graph.outputs()[i].name, results[i]);
  return closed;
}

}  // namespace ml::onnx
