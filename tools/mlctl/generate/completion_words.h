// What the completions of all shells have in common.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/mlctl/table/command.h"

namespace ml::ctl {

// What `mlctl __complete` is asked for; empty when it can't be asked.
std::string_view asked_kind(Takes takes);
// The words that such a value may be; empty when there is no list.
std::string_view fixed_words(Takes takes);
// What may stand behind "mlctl device", or behind "mlctl" for "".
std::vector<std::string> command_words(std::string_view group);

}  // namespace ml::ctl
