// Connecting to a daemon's socket, and trying again while that is worth it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "libmlclient/transport/transport.h"
#include "libmlclient/transport/unique_fd.h"

namespace ml::transport {

// Makes a transport of a connected socket. It is called again when it throws `again` or device_lost and there is time.
using MakeTransport = std::function<std::unique_ptr<Transport>(UniqueFd connected)>;

// Null with the error's number when nobody listens there for as long as `patience` (ns). Throws what `make` throws.
std::unique_ptr<Transport> reach(const std::string& path, std::uint64_t patience, const MakeTransport& make,
                                 int& error);
// Throws when nobody listens there.
std::unique_ptr<Transport> reach(const std::string& path, std::uint64_t patience, const MakeTransport& make);

// Nobody listens there, now.
bool is_absent(int error);
[[noreturn]] void refuse_connecting(const std::string& path, int error);

}  // namespace ml::transport
