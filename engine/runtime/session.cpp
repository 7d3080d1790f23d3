#include "engine/runtime/session.h"

#include "engine/runtime/queue.h"

namespace ml::runtime {

Session::Session(const SessionLimits& session_limits)
    : limits(session_limits), handles(session_limits.handles), arenas(session_limits.arenas) {}

Session::~Session() = default;

}  // namespace ml::runtime
