// Answers of measurements on disk: which implementation was the fastest for a key.
//
// A file a key, named by the key's hash, in a folder of this format's version. It is written beside and renamed, so
// readers and any number of writers, killed ones too, see whole files; it holds key, answer and a checksum, and what
// doesn't fit is no answer and is written anew.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace ml::runtime {

enum class TuningMode : std::uint8_t {
  on,
  read_only,  // answers that are there are used; nothing is measured and nothing written
};

class TuningCache {
 public:
  // Told what is wrong with the folder or its files, each kind once.
  using Warn = std::function<void(const std::string&)>;

  // Files that this version wrote stand in `folder`/tuning-1, which is made by the first answer that is kept.
  TuningCache(std::filesystem::path folder, bool writes, Warn warn);

  // Keys and answers are one line each. Any thread may call.
  std::optional<std::string> find(std::string_view key) const;
  // Where it can't be written it is dropped.
  void keep(std::string_view key, std::string_view answer);

 private:
  std::filesystem::path file_of(std::string_view key) const;
  void write(const std::filesystem::path& path, const std::string& text);
  void remove_left_behind() const;
  void warn_once(bool& warned, const std::string& what) const;

  const std::filesystem::path folder_;
  const bool writes_;
  const Warn warn_;
  mutable std::mutex mutex_;  // guards what follows
  mutable bool warned_damaged_ = false, warned_unwritable_ = false;
  bool swept_ = false;
  std::uint64_t serial_ = 0;  // of temporary files
};

}  // namespace ml::runtime
