// Control rows on every device, against the same computation written out.
#include "tests/matrix/control.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/matrix/register.h"
#include "tests/matrix/targets.h"
#include "tests/matrix/tolerance.h"

namespace ml::test {
namespace {

Graph graph_of(const ControlCase& test, const std::function<std::vector<Var>(std::span<const Var>)>& build) {
  Graph graph;
  std::vector<Var> inputs;
  for (std::size_t i = 0; i < test.inputs.size(); ++i)
    inputs.push_back(input(graph, "x" + std::to_string(i), test.inputs[i].dtype, test.inputs[i].shape));
  const std::vector<Var> results = build(inputs);
  for (std::size_t i = 0; i < results.size(); ++i) output("y" + std::to_string(i), results[i]);
  return graph;
}

class ControlTest : public testing::Test {
 public:
  explicit ControlTest(const Op& op) : op_(op) {}
  void TestBody() override {
    int found = 0;
    for (const ControlCase& test : control_cases()) {
      if (test.op != op_.name) continue;
      ++found;
      std::mt19937_64 random = random_for(test.label);
      std::vector<HostTensor> feed;
      for (const TensorType& type : test.inputs)
        feed.push_back(random_tensor(type.dtype, type.shape, Fill::exact, 1, random));
      const Result expected = run_graph(oracle(), graph_of(test, test.written_out), feed);
      for (Target& target : targets()) {
        SCOPED_TRACE(std::string(op_.name) + " '" + test.label + "' on " + std::string(target.device->name()));
        const std::vector<HostTensor> got = evaluate(graph_of(test, test.with_control), *target.device, feed);
        ASSERT_EQ(got.size(), expected.outputs.size());
        for (std::size_t i = 0; i < got.size(); ++i)
          EXPECT_EQ(difference(got[i], expected.outputs[i], {}, 0, nullptr), "") << "output " << i;
      }
    }
    EXPECT_GT(found, 0) << op_.name << " has no case: add one to tests/matrix/control_cases.cpp";
  }

 private:
  const Op& op_;
};

}  // namespace

void register_control() {
  for (const Op* op : all_ops()) {
    if (op->kind != OpKind::control) continue;
    testing::RegisterTest("control", std::string(op->name).c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [op]() -> ControlTest* { return new ControlTest(*op); });
  }
}

}  // namespace ml::test
