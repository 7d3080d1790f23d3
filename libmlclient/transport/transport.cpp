#include "libmlclient/transport/transport.h"

namespace ml::transport {

std::unique_ptr<Transport> open_transport(const SessionOptions& options) {
  const std::string& name = options.transport;
  if (name == "embedded") return open_embedded(options);
  if (name.starts_with("unix:") || name.starts_with("kernel:")) {
    throw Error(Code::unsupported, "the transport '" + name + "' is not in this version of mlaccel", {},
                "unset MLACCEL, or set MLACCEL=embedded to run the worker in this process");
  }
  throw Error(Code::invalid_argument, "there is no transport '" + name + "'", {},
              "MLACCEL is one of: embedded, unix:PATH, kernel:N");
}

}  // namespace ml::transport
