// The registry's folder as it lies on disk: models/<uid>/<name>/<version>/{model.mlmodel, manifest.toml}.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "daemon/registry/manifest.h"

namespace ml::daemon {

inline constexpr const char* kModelFile = "model.mlmodel";
inline constexpr const char* kManifestFile = "manifest.toml";

class ModelFolders {
 public:
  // Makes <state>/models/ with what belongs into it. Throws io.
  explicit ModelFolders(const std::string& state_directory);

  std::string version(std::uint32_t owner, const std::string& name, std::uint64_t version) const;
  // A new empty folder for a model that is on its way in; on the file system where it will be.
  std::string new_incoming();
  // Makes what lies there the version of the manifest, durably. Throws io, no_space; then it is not there.
  void publish(const std::string& incoming, const Manifest& manifest);

  struct Found {
    std::vector<Manifest> models;
    std::vector<std::string> set_aside;  // one sentence each
    // The highest version of a name ever seen, set aside ones included: none is used twice.
    std::map<std::pair<std::uint32_t, std::string>, std::uint64_t> highest;
  };
  // Removes what was on its way in when mld ended.
  Found scan();
  // Moves models/<entry> to models/damaged/ and writes the reason beside it. Answers a sentence about it.
  std::string set_aside(const std::string& entry, const std::string& reason);

 private:
  void scan_owner(const std::string& owner, Found& found);
  void scan_name(const std::string& entry, std::uint32_t owner, const std::string& name, Found& found);
  void scan_damaged(Found& found) const;
  std::string root_;  // <state>/models
  std::uint64_t incoming_ = 0;
};

}  // namespace ml::daemon
