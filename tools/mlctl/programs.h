// The other programs of mlaccel.
#pragma once

#include <string>

namespace ml::ctl {

// Where a program of mlaccel is: beside this one (a build), where this one was installed from (sbin, libexec/mlaccel),
// or in PATH. Empty when it is nowhere.
std::string find_program(const std::string& name);

}  // namespace ml::ctl
