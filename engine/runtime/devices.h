// The devices there are, by name.
#pragma once

#include <memory>
#include <string_view>

#include "engine/backends/backend.h"

namespace ml::runtime {

// How many CPUs this process may run on.
int usable_cpus();
// "cpu" or "reference"; `threads` is how many one kernel may use. Throws not_found listing the names there are.
std::unique_ptr<Device> create_device(std::string_view name, int threads);

}  // namespace ml::runtime
