// A device that is as far from host memory as a device can be, for tests: it has its own memory, which no other thread
// can look into, and does things late and out of order between streams. Its kernels are those of the reference.
//
// What it finds: reading a result without a fence (the target of a download holds garbage until then), changing what is
// still being uploaded, freeing buffers in use (aborts with a message), memory that two values share by mistake
// (kernels scribble over their scratch), streams that should have been ordered and are not.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/backends/backend.h"

namespace ml::test {

enum class Delay {
  random,      // of each task: none, up to a millisecond, or until somebody waits for it
  until_asked  // nothing runs before somebody waits for a fence behind it, or asks whether it is done
};

std::unique_ptr<Device> create_delayed_device(std::uint64_t seed, Delay delay = Delay::random);

}  // namespace ml::test
