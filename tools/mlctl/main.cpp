// mlctl: the command line of mlaccel. Data go to stdout, everything else to stderr; `mlctl --help` lists the exit
// codes.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "tools/mlctl/failure.h"
#include "tools/mlctl/table/invocation.h"

namespace {

using ml::ctl::Exit;

Exit run_watched(const ml::ctl::Invocation& invocation) {
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  const ml::ctl::Format format = invocation.style().format;
  const bool table = format == ml::ctl::Format::table || format == ml::ctl::Format::wide;
  for (;;) {
    if (terminal && table) ml::ctl::write_out("\033[H\033[2J");
    const Exit exit = invocation.command().run(invocation);
    if (exit != Exit::ok) return exit;
    if (!terminal && table) ml::ctl::write_out("\n");
    std::this_thread::sleep_for(*invocation.watch());
  }
}

Exit run(const std::vector<std::string>& arguments) {
  const ml::ctl::Parsed parsed = ml::ctl::parse(arguments);
  if (!parsed.invocation) {
    ml::ctl::write_out(parsed.printed);
    return Exit::ok;
  }
  const ml::ctl::Invocation& invocation = *parsed.invocation;
  return invocation.watch() ? run_watched(invocation) : invocation.command().run(invocation);
}

int fail(const ml::ctl::Failure& failure) {
  const char* const no_color = std::getenv("NO_COLOR");
  const bool colour = isatty(STDERR_FILENO) != 0 && (no_color == nullptr || *no_color == 0);
  ml::ctl::write_error(ml::ctl::report_of(failure, colour));
  return static_cast<int>(failure.exit);
}

}  // namespace

int main(int argc, char** argv) {
  // gRPC's own remarks are no part of what is printed here.
  setenv("GRPC_VERBOSITY", "NONE", 0);  // NOLINT(concurrency-mt-unsafe): no thread has been started
  try {
    return static_cast<int>(run({argv + 1, argv + argc}));
  } catch (const ml::ctl::Failure& failure) {
    return fail(failure);
  } catch (const ml::Error& error) {
    return fail(ml::ctl::failure_of(error));
  } catch (const std::exception& error) {
    return fail({Exit::failure, error.what(), "report it, with `mlctl --version`", "MLE-0015"});
  }
}
