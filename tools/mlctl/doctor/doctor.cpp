#include "tools/mlctl/doctor/doctor.h"

#include <algorithm>

#include "tools/mlctl/commands/commands.h"
#include "tools/mlctl/failure.h"
#include "tools/mlctl/output/human.h"
#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {
namespace {

constexpr Diagnose kDiagnoses[] = {diagnose_libraries, diagnose_engine,     diagnose_programs,     diagnose_groups,
                                   diagnose_sockets,   diagnose_event_loop, diagnose_memfd,        diagnose_sandbox,
                                   diagnose_limits,    diagnose_cpus,       diagnose_kernel_module};

// "warn  io_uring  refused ..." and the hint below it.
std::string lines_of(const std::vector<Check>& checks, bool colour) {
  std::size_t width = 0;
  for (const Check& check : checks) width = std::max(width, check.name.size());
  std::string out;
  for (const Check& check : checks) {
    const std::string status = check.status + std::string(6 - check.status.size(), ' ');
    out += (colour ? coloured(check.status, status) : status) + check.name +
           std::string(width + 2 - check.name.size(), ' ') + printable(check.detail) + '\n';
    if (!check.hint.empty()) out += std::string(width + 8, ' ') + "hint: " + printable(check.hint) + '\n';
  }
  return out;
}

}  // namespace

Check good(std::string name, std::string detail) { return {"ok", std::move(name), std::move(detail), {}}; }
Check uneasy(std::string name, std::string detail, std::string hint) {
  return {"warn", std::move(name), std::move(detail), std::move(hint)};
}
Check bad(std::string name, std::string detail, std::string hint) {
  return {"fail", std::move(name), std::move(detail), std::move(hint)};
}

std::span<const Diagnose> diagnoses() { return kDiagnoses; }

Exit run_doctor(const Invocation& invocation) {
  const Patient patient{.named_socket = invocation.text("--socket")};
  std::vector<Check> checks;
  for (const Diagnose diagnose : diagnoses())
    for (Check& check : diagnose(patient)) checks.push_back(std::move(check));
  if (invocation.style().format == Format::table)
    write_out(lines_of(checks, invocation.style().colour));
  else
    invocation.show(kCheckKind, rows_of(kCheckKind, checks));
  const auto of = [&](std::string_view status) {
    return std::count_if(checks.begin(), checks.end(), [&](const Check& check) { return check.status == status; });
  };
  invocation.remark(std::to_string(of("ok")) + " ok, " + std::to_string(of("warn")) + " to look at, " +
                    std::to_string(of("fail")) + " failed");
  return of("fail") == 0 ? Exit::ok : Exit::failure;
}

}  // namespace ml::ctl
