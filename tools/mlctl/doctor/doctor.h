// What doctor looks at. Each check looks at one thing, needs no mld, and never fails itself: what it can't find out it
// says.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tools/mlctl/output/local_things.h"

namespace ml::ctl {

struct Patient {
  std::string named_socket;  // --socket
};

using Diagnose = std::vector<Check> (*)(const Patient& patient);

// In the order in which they are shown.
std::span<const Diagnose> diagnoses();

Check good(std::string name, std::string detail);
Check uneasy(std::string name, std::string detail, std::string hint);
Check bad(std::string name, std::string detail, std::string hint);

// The installation: libraries, programs, groups.
std::vector<Check> diagnose_libraries(const Patient& patient);
std::vector<Check> diagnose_engine(const Patient& patient);
std::vector<Check> diagnose_programs(const Patient& patient);
std::vector<Check> diagnose_groups(const Patient& patient);
// Sockets, and who answers.
std::vector<Check> diagnose_sockets(const Patient& patient);
// The kernel and the limits of this process.
std::vector<Check> diagnose_event_loop(const Patient& patient);
std::vector<Check> diagnose_memfd(const Patient& patient);
std::vector<Check> diagnose_sandbox(const Patient& patient);
std::vector<Check> diagnose_limits(const Patient& patient);
std::vector<Check> diagnose_cpus(const Patient& patient);
std::vector<Check> diagnose_kernel_module(const Patient& patient);

}  // namespace ml::ctl
