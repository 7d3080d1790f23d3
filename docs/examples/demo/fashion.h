// What the demo's two programs share: the data set, its labels, their options.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "ml/data.h"

namespace demo {

inline constexpr std::int64_t kClasses = 10;
// What a class is called; throws out_of_range when there is none of that number.
const char* label(std::int64_t number);

// "train" (60,000 images) or "t10k" (10,000) in `folder`, as files of Debian's dataset-fashion-mnist are named.
std::shared_ptr<ml::data::IdxDataset> open_fashion(const std::string& folder, const std::string& part);

// "--name value" pairs; unknown ones, and missing ones whose default is empty, end the program with `usage` and exit
// code 2. A default of "-" stands for an option that may be left out.
std::map<std::string, std::string> parse_options(int argc, char** argv, std::map<std::string, std::string> defaults,
                                                 const std::string& usage);

// A whole number from 1 on; anything else ends the program like a wrong option.
std::int64_t parse_count(const std::string& name, const std::string& value);

// Throws io when no file could be written at `path`: better known before an hour of work than after it.
void want_writable(const std::string& path);

// Runs `body` and turns an error into a message and exit code 1.
int run(const char* program, int (*body)(int, char**), int argc, char** argv);

}  // namespace demo
