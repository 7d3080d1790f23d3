// A session of mlctl itself with mld: what model import and model infer go through.
#pragma once

#include "tools/mlctl/table/invocation.h"

namespace ml::ctl {

// Opens the default session on the socket that the mld behind the admin socket names. With --verbose it says which
// transport it took. Throws Failure or ml::Error.
void open_session(const Invocation& invocation);

}  // namespace ml::ctl
