// The devices that the matrix runs on.
#pragma once

#include <vector>

#include "tests/matrix/run.h"

namespace ml::test {

std::vector<Target>& targets();
// The reference, which says what is right.
Target& oracle();

}  // namespace ml::test
