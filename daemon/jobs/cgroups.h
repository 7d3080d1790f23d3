// A cgroup (version 2) for each owner and job below mld's own, where that folder has been delegated to mld: an admin
// sees what a job uses, and nothing that it starts is left behind.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace ml::daemon {

class Cgroups {
 public:
  // Looks where mld is. `why_not` says why jobs stay in mld's own cgroup; empty when they don't.
  Cgroups();
  const std::string& why_not() const { return why_not_; }

  // The folder of a job, made if need be; empty where there is none to be had.
  std::string make(uid_t owner, std::uint64_t job) const;
  // Kills what is still in it and removes it.
  void remove(uid_t owner, std::uint64_t job) const;

 private:
  std::string owner_folder(uid_t owner) const { return root_ + "/owner-" + std::to_string(owner); }

  std::string root_;  // mld's own folder; empty: not to be used
  std::string why_not_;
};

}  // namespace ml::daemon
