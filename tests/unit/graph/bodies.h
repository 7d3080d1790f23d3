// Small graphs that tests give to control flow.
#pragma once

#include "engine/graph/build_control.h"

namespace ml::test {

// A closed graph of what `build` makes of inputs of the types, written as in "f32[2] i64[]".
using BuildBody = std::vector<Var> (*)(std::span<const Var> inputs);
GraphPtr body(std::string_view types, BuildBody build);

}  // namespace ml::test
