// What --help and --version print, and the pieces that other descriptions share.
#pragma once

#include <string>
#include <string_view>

#include "tools/mlctl/table/command.h"

namespace ml::ctl {

// Of a command ("model import"), a group ("model") or the whole ("").
std::string help(std::string_view path);
std::string version_text();

// "-o, --format FORM"
std::string spelling(const Option& option);
// The help, with what holds when it is not given.
std::string meaning(const Option& option);
// Filled to `width` columns, each line behind `indent` spaces.
std::string filled(std::string_view text, std::size_t indent, std::size_t width = 80);

}  // namespace ml::ctl
