#include "tests/matrix/targets.h"

#include "tests/delayed/device.h"
#include "tests/matrix/values.h"

namespace ml::test {

std::vector<Target>& targets() {
  static std::vector<Target> all = [] {
    std::vector<Target> made;
    made.emplace_back(create_reference_device());
    made.emplace_back(create_cpu_device(2));
    made.emplace_back(create_delayed_device(test_seed()));
    return made;
  }();
  return all;
}

Target& oracle() { return targets().front(); }

}  // namespace ml::test
