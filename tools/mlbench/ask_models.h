// mlbench-models: knows the models, and the engine from inside.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace ml::bench {

// Runs it with these arguments, pinned to `cpus` (empty: to where this process is), and answers what it prints. Throws
// io when it fails; why it did is on stderr.
std::string ask_models(std::vector<std::string> arguments, std::span<const int> cpus = {});

}  // namespace ml::bench
