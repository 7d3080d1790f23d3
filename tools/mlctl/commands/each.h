// Commands that name several things do what they can with each.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "tools/mlctl/table/command.h"

namespace ml::ctl {

// Calls `act` for each name and reports what fails, with its name. Answers ok, partial when some failed, or the first
// failure's exit code when all did. When nothing listens the rest is not tried.
Exit for_each_name(std::span<const std::string> names, const std::function<void(const std::string&)>& act);

}  // namespace ml::ctl
