// mld as a whole: makes its parts, connects them, and lives by signals until it is told to stop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/config/config.h"

namespace ml::daemon {

class Service {
 public:
  // Takes the state directory and the sockets, and starts the workers. Throws what stands in the way.
  Service(const ConfigOptions& options, std::string version);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Serves until SIGTERM or SIGINT, and drains: jobs write their checkpoints first. A second signal ends it at once.
  void run();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace ml::daemon
