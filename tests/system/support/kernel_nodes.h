// What sysfs says of the kernel module's devices.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ml::test {

// The N of the accelN or renderDN of a device, by its name; "": of the one with the lowest N. Nothing: there is none.
std::optional<std::uint32_t> kernel_minor(const std::string& device = "");
// A number that the device's attribute says. Throws std::runtime_error when there is none.
std::uint64_t kernel_attribute(std::uint32_t minor, const std::string& name);

}  // namespace ml::test
