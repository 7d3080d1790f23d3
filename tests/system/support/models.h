// Models of the registry, brought there by the protocol itself.
#pragma once

#include <cstdint>
#include <string>

#include "engine/graph/graph.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {

// The file of a model in a memfd sealed against everything, and its size.
struct ModelMemory {
  transport::UniqueFd file;
  std::uint64_t bytes;
};
ModelMemory model_memory(const Graph& graph);

// REGISTER_MODEL: its version. Throws Refused.
std::uint64_t register_model(RawSession& session, const std::string& name, bool shared = false,
                             const Graph& graph = add_one_graph());

}  // namespace ml::test
