#include "engine/runtime/devices.h"

#include <sched.h>

#include <string>

#include "ml/error.h"

namespace ml::runtime {

int usable_cpus() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::unique_ptr<Device> create_device(std::string_view name, int threads) {
  if (name == "cpu") return create_cpu_device(threads);
  if (name == "reference") return create_reference_device();
  throw Error(Code::not_found, "there is no device '" + std::string(name) + "'", {}, "take 'cpu' or 'reference'");
}

}  // namespace ml::runtime
