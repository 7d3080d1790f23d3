// The arenas of random graphs' plans stay near what is alive at once.
#include <gtest/gtest.h>

#include "engine/passes/passes.h"
#include "engine/runtime/plan.h"
#include "tests/unit/passes/generator.h"

namespace ml::passes {
namespace {

TEST(Arenas, OfRandomGraphsAreWithinFivePercentOfTheLargestLiveSet) {
  const std::unique_ptr<Device> devices[] = {create_cpu_device(1), create_reference_device()};
  const Evaluate evaluate = runtime::reference_evaluate();
  for (std::uint64_t seed = 1; seed <= 150 && !testing::Test::HasFailure(); ++seed) {
    const Graph graph = test::Generator(seed, DType::f32, false).run();
    for (const auto& device : devices) {
      runtime::ProgramResources resources(*device);
      const auto plan = runtime::make_plan(simplify(graph, evaluate), resources, {evaluate});
      const auto bound = static_cast<double>(plan->scratch_lower_bound());
      EXPECT_GE(static_cast<double>(plan->scratch_bytes()), bound) << "seed " << seed << " on " << device->name();
      EXPECT_LE(static_cast<double>(plan->scratch_bytes()), 1.05 * bound)
          << "seed " << seed << " on " << device->name();
    }
  }
}

}  // namespace
}  // namespace ml::passes
