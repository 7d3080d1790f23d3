// An ml::Error as the ERROR packet of a socket carries it. Used by both ends of the session socket and of the worker
// socket.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "libmlclient/transport/seqpacket.h"
#include "ml/error.h"

namespace ml::transport {

// The text of an ERROR packet, cut to what fits.
std::string failure_text(const Error& error);
// Answers `request` with `error`, whose text is cut to what fits a packet. False as send_packet().
bool send_failure(int socket, std::uint64_t request, const Error& error);
// What a caught exception is to the other side: the ml::Error itself, out_of_memory, or internal.
Error failure_from(std::exception_ptr caught);
// The error in a packet of kind `error`; corrupt for one that is not as it must be.
Error failure_in(const Packet& packet);

}  // namespace ml::transport
