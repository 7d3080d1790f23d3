// Small programs for RawSession.
#include <string>

#include "engine/graph/binary.h"
#include "engine/graph/build.h"
#include "engine/graph/build_control.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {

Graph add_one_graph() {
  Graph graph;
  output("y", input(graph, "x", DType::f32, Shape{kUnknown}) + 1.0);
  return graph;
}

Graph busy_graph(std::int64_t turns) {
  Graph below, turn, graph;
  const Var i = input(below, "i", DType::i64, Shape{});
  input(below, "x", DType::f32, Shape{256});
  output("go on", lt(i, static_cast<double>(turns)));
  output("i", input(turn, "i", DType::i64, Shape{}) + 1.0);
  output("x", sin(input(turn, "x", DType::f32, Shape{256})));
  const Var x = input(graph, "x", DType::f32, Shape{256});
  const std::vector<Var> carried{scalar(graph, DType::i64, 0), x};
  output("y", while_loop(std::make_shared<const Graph>(below), std::make_shared<const Graph>(turn), carried)[1]);
  return graph;
}

mlring_handle compile(RawQueue& queue, RawArena& arena, const Graph& graph) {
  const BinaryGraph binary = serialize(graph);
  std::vector<mlring_argument> arguments;
  const auto add = [&](std::span<const std::byte> bytes) {
    mlring_argument a = arena.argument(MLRING_IN, MLRING_U8, {bytes.size()}, 1);
    std::copy(bytes.begin(), bytes.end(), arena.at(a.offset));
    arguments.push_back(a);
  };
  add(binary.bytes);
  for (const auto& blob : binary.blobs) add(blob->bytes());
  const RawQueue::Answer answer = queue.run(arena.descriptor(MLRING_OP_COMPILE, arguments));
  if (answer.status() != MLRING_OK) throw Refused(answer.status(), answer.message);
  return answer.completion.result;
}

mlring_descriptor execute(RawArena& arena, mlring_handle program, const std::vector<mlring_argument>& arguments) {
  mlring_descriptor d = arena.descriptor(MLRING_OP_EXECUTE, arguments);
  d.handle = program;
  return d;
}

void compute_something(RawSession& session) {
  const bool kernel = session.has_kernel();
  const auto queue = kernel ? session.open_kernel_queue() : session.open_queue();
  const auto arena = kernel ? session.add_kernel_arena() : session.add_arena();
  const mlring_handle program = compile(*queue, *arena, add_one_graph());
  const mlring_argument in = arena->input({1, 2, 3}), out = arena->output(3);
  const RawQueue::Answer answer = queue->run(execute(*arena, program, {in, out}));
  if (answer.status() != MLRING_OK) throw Refused(answer.status(), answer.message);
  if (arena->floats(out) != std::vector<float>{2, 3, 4}) throw std::runtime_error("x + 1 is not what came out");
}

}  // namespace ml::test
