#include "tests/unit/graph/form_samples.h"

#include <cstring>
#include <set>

#include "engine/graph/build_nn.h"
#include "engine/graph/narrow.h"
#include "engine/graph/scalar.h"
#include "ml/error.h"
#include "tests/unit/graph/bodies.h"
#include "tests/unit/graph/shape_cases.h"

namespace ml::test {
namespace {

// A node of `op` on inputs of the first dtype that it takes.
Graph elementwise_sample(const Op& op) {
  for (const DType dtype : {DType::f32, DType::i32, DType::boolean}) {
    Graph graph;
    std::vector<ValueId> inputs;
    for (int i = 0; i < op.min_inputs; ++i) inputs.push_back(graph.add_input("x" + std::to_string(i), {dtype, {2, 3}}));
    try {
      graph.add_output("y", graph.add(op, nullptr, inputs));
    } catch (const Error&) {
      continue;
    }
    return graph;
  }
  return {};
}

// Every bit pattern of 16 bits for the halves, and what is awkward to print for the others.
ConstantPtr awkward_constant(DType dtype) {
  std::vector<std::byte> bytes;
  const auto add = [&bytes](auto value) {
    const auto* at = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), at, at + sizeof(value));
  };
  if (dtype == DType::f16 || dtype == DType::bf16) {
    for (std::uint32_t bits = 0; bits < 65536; bits += 37) add(static_cast<std::uint16_t>(bits));
    bytes.resize(4096);
  } else if (dtype == DType::f32) {
    for (const std::uint32_t bits : {0u, 0x80000000u, 1u, 0x7f7fffffu, 0x7f800000u, 0xff800000u, 0x7fc00000u,
                                     0xffc00000u, 0x7f800001u, 0x3dcccccdu, 0x00800000u})
      add(bits);
  } else if (dtype == DType::f64) {
    for (const std::uint64_t bits : {0ull, 1ull << 63, 1ull, 0x7fefffffffffffffull, 0x7ff0000000000000ull,
                                     0x7ff8000000000000ull, 0xfff8000000000001ull, 0x3fb999999999999aull})
      add(bits);
  } else {
    for (const int byte : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      const std::vector<std::byte> element(dtype_size(dtype), static_cast<std::byte>(byte));
      if (is_narrow(dtype) && narrow::canonical(dtype, static_cast<std::uint8_t>(byte)) != byte) continue;
      if (dtype != DType::boolean || byte <= 1) bytes.insert(bytes.end(), element.begin(), element.end());
    }
  }
  const auto count = static_cast<std::int64_t>(bytes.size() / dtype_size(dtype));
  return make_constant(dtype, {count}, bytes);
}

}  // namespace

Graph full_sample() {
  Graph graph;
  graph.name = "a \"graph\"\n\x01\xff";
  const ValueId x = graph.add_input("x", {DType::f32, {kUnknown, 3, kUnknown}}, {"batch", "", "length of\tit"});
  for (int number = 1; number <= kDTypeCount; ++number) {
    const auto dtype = static_cast<DType>(number);
    graph.add_output("c" + std::to_string(number), graph.add_constant(awkward_constant(dtype)));
    graph.add_output("splat " + std::to_string(number), graph.add_constant(make_splat(dtype, {2, 0, 3}, 1)));
    graph.add_output("s" + std::to_string(number), graph.add_constant(make_splat(dtype, {7}, 1)));
  }
  // An input that comes after nodes, as when a graph grows.
  const ValueId state = graph.add_input("output", {DType::f32, {3}});
  const Var captured{&graph, state};
  const GraphPtr turn = body("f32[3] f32[3] f32[3]", [](std::span<const Var> v) -> std::vector<Var> {
    const std::vector<Var> inner = call(body("f32[3]",
                                             [](std::span<const Var> w) -> std::vector<Var> {
                                               return {gelu(w[0], true), exp(w[0])};
                                             }),
                                        v.first(1));
    return {inner[0] * v[1], v[2] - inner[1]};
  });
  const Var slices = input(graph, "slices", DType::f32, {kUnknown, 3});
  const std::vector<Var> results = scan(turn, std::span(&captured, 1), std::span(&slices, 1), std::span(&captured, 1));
  graph.add_output("y", x);
  graph.add_output("z", results[1].id);
  graph.add_output("next", results[0].id);
  graph.donate(1, static_cast<std::uint32_t>(graph.outputs().size() - 1));
  verify(graph);
  return graph;
}

std::vector<FormSample> form_samples() {
  std::vector<FormSample> samples;
  std::set<const Op*> held;
  for (const ShapeCase& c : all_shape_cases()) {
    if (c.expects[0] == '!') continue;
    FormSample sample{c.name, {}};
    const Var result = c.build(sample.graph);
    sample.graph.add_output("result", result.id);
    for (const Node& node : sample.graph.nodes()) held.insert(node.op);
    samples.push_back(std::move(sample));
  }
  for (const Op* op : all_ops()) {
    if (op->kind == OpKind::elementwise && !held.contains(op))
      samples.push_back({std::string(op->name), elementwise_sample(*op)});
  }
  samples.push_back({"everything", full_sample()});
  samples.push_back({"nothing", {}});
  return samples;
}

}  // namespace ml::test
