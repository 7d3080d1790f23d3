// What ends a command: an exit code, and what stands on stderr.
#pragma once

#include <exception>
#include <string>

#include "ml/error.h"
#include "tools/mlctl/table/command.h"

namespace ml::ctl {

struct Failure : std::exception {
  Failure(Exit which, std::string text, std::string advice = {}, std::string stable_code = {})
      : exit(which), message(std::move(text)), hint(std::move(advice)), code(std::move(stable_code)) {}
  const char* what() const noexcept override { return message.c_str(); }

  Exit exit;
  std::string message, hint;
  std::string code;  // "MLE-0004"
};

// What an error means to a script.
Failure failure_of(const Error& error);
Exit exit_of(std::string_view code);
// "error: ... [MLE-0004]\nhint: ...\n"
std::string report_of(const Failure& failure, bool colour);

}  // namespace ml::ctl
