// Texts made from the command table.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ml::ctl {

std::string completion_script(std::string_view shell);  // "bash", "zsh", "fish"
std::string bash_completion();
std::string zsh_completion();
std::string fish_completion();

// Name of a file, and what is in it.
using Generated = std::vector<std::pair<std::string, std::string>>;
Generated man_pages();        // mlctl.1, mlctl-device.1, ...
std::string reference();      // docs/mlctl.md
Generated schemas();          // docs/schemas/device.json, devices.json, ...
std::string table_as_json();  // the command table, for the tests

}  // namespace ml::ctl
