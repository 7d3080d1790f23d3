// One node that the importer has to refuse, and what it has to say.
#pragma once

#include "tests/unit/formats/onnx_models.h"

namespace ml::onnx_models {

struct Refusal {
  const char* what;
  int version;
  const char* op;
  std::vector<std::vector<int>> inputs;  // f32; those behind them are `numbers`
  std::vector<std::vector<std::int64_t>> numbers;
  std::vector<std::pair<const char*, std::vector<std::int64_t>>> lists;
  std::vector<std::pair<const char*, std::int64_t>> integers;
  std::vector<std::pair<const char*, const char*>> texts;
  const char* message;
};

inline Model model_of(const Refusal& c) {
  Model model = empty_model(c.version);
  auto& graph = *model.mutable_graph();
  auto& node = *graph.add_node();
  node.set_op_type(c.op);
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const std::string name = "x" + std::to_string(i);
    node.add_input(c.inputs[i].empty() ? "" : name);
    if (c.inputs[i].empty()) continue;
    add_value(graph.mutable_input(), name, {});
    auto& shape = *graph.mutable_input()->rbegin()->mutable_type()->mutable_tensor_type()->mutable_shape();
    for (const int extent : c.inputs[i]) shape.add_dim()->set_dim_value(extent);
  }
  for (std::size_t i = 0; i < c.numbers.size(); ++i) {
    const std::string name = "n" + std::to_string(i);
    node.add_input(name);
    add_numbers(graph, name, c.numbers[i]);
  }
  for (const auto& [name, values] : c.lists) set(node, name, values);
  for (const auto& [name, value] : c.integers) set(node, name, value);
  for (const auto& [name, value] : c.texts) add_attribute(node, name).set_s(value);
  node.add_output("y");
  graph.add_output()->set_name("y");
  return model;
}

}  // namespace ml::onnx_models
