// The stable codes of what can go wrong, and what `mlctl explain` says about each. A code is never used for anything
// else again. Needs nothing but ml/error.h, so that mlctl shares the table.
#pragma once

#include <span>
#include <string_view>

#include "ml/error.h"

namespace ml::daemon {

// What a caller can do about it: mld's gRPC status and mlctl's exit code follow from it.
enum class Outcome { invalid, missing, denied, conflict, full, timed_out, unavailable, failed };

struct ErrorPage {
  std::string_view code;  // "MLE-0012"
  Code kind;              // what C++ and C programs get
  Outcome outcome;
  std::string_view title;  // half a sentence
  std::string_view text;   // what it means, why it happens, what to do
};

std::span<const ErrorPage> error_pages();  // in the order of their codes
const ErrorPage* find_error_page(std::string_view code);
// Of an error: MLE-0001 to MLE-0015 are the kinds; a limit's error, whose context begins with "limits.<key>" as in
// mld.toml, has a code of its own.
std::string_view code_of(Code kind);
std::string_view code_of(const Error& error);

// Conditions with a code of their own that only the place where they arise can tell.
namespace codes {
inline constexpr std::string_view kAdminConnections = "MLE-0114";
inline constexpr std::string_view kNoDevice = "MLE-0201";
inline constexpr std::string_view kNoModel = "MLE-0202";
inline constexpr std::string_view kNoJob = "MLE-0203";
inline constexpr std::string_view kNoSession = "MLE-0204";
inline constexpr std::string_view kNotYours = "MLE-0205";
inline constexpr std::string_view kNotRunning = "MLE-0206";
inline constexpr std::string_view kStopping = "MLE-0207";
inline constexpr std::string_view kDraining = "MLE-0208";
inline constexpr std::string_view kNoAnswer = "MLE-0209";
inline constexpr std::string_view kJobState = "MLE-0210";
inline constexpr std::string_view kModelDamaged = "MLE-0211";
inline constexpr std::string_view kNoPrevious = "MLE-0212";
inline constexpr std::string_view kNoSuchDevices = "MLE-0213";
}  // namespace codes

}  // namespace ml::daemon
