// The hot path over a queue of the kernel module: while both sides are awake and nobody waits, no system call. Both
// ends are in this process, which registers a device for itself. Needs the module, and root: it runs in the test
// guests.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "daemon/worker/kernel_queue.h"
#include "engine/runtime/devices.h"
#include "kernel/uapi/mlaccel_control.h"
#include "libmlclient/transport/kernel_node.h"
#include "libmlclient/transport/ring_mapping.h"
#include "tests/hot_path/round_trips.h"

namespace ml {
namespace {

using namespace test;
using transport::UniqueFd;

// A device of this process's own, gone with it.
struct OwnDevice {
  OwnDevice() {
    if (!control) throw std::runtime_error(std::string(MLACCEL_CONTROL_NODE ": ") + std::strerror(errno));
    mlaccel_dev_register wanted{};
    std::strcpy(wanted.name, "hot");
    std::strcpy(wanted.backend, "reference");
    wanted.memory_bytes = 1u << 20;
    if (ioctl(control.get(), MLACCEL_DEV_REGISTER, &wanted) != 0) throw std::runtime_error("DEV_REGISTER");
    minor = wanted.minor;
    mlaccel_dev_start start{};
    start.device = wanted.device;
    if (ioctl(control.get(), MLACCEL_DEV_START, &start) != 0) throw std::runtime_error("DEV_START");
    worker = UniqueFd(start.fd);
  }
  UniqueFd control{open(MLACCEL_CONTROL_NODE, O_RDWR | O_CLOEXEC)};
  UniqueFd worker;
  std::uint32_t minor = 0;
};

TEST(KernelHotPath, NopTakesNoSystemCall) {
  constexpr int kAttempts = 20;
  bool without = false;
  for (int attempt = 0; attempt < kAttempts && !without; ++attempt) {
    const Counts counts = run_traced([](Phase& phase) {
      OwnDevice own;
      daemon::KernelDevice kernel(std::move(own.worker),
                                  {[](std::uint64_t, Code) {}, [](const mlaccel_event&) {}, [] {}});
      runtime::WorkerOptions options = kAwake;
      options.events = &kernel;
      options.spin = 0;  // NOPs need no executor, and a guest has no CPU to spare for one
      runtime::Worker worker(create_reference_device(), options);
      runtime::Session& session = worker.create_session();
      const UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      const transport::KernelNode node(own.minor);
      const transport::NodeQueue queue = node.make_queue(64, wake.get());
      const transport::RingMapping mapping(transport::KernelQueueFile{queue.fd.get()}, 64);
      worker.attach_queue(session, std::make_unique<daemon::KernelQueue>(
                                       std::make_shared<daemon::KernelPages>(kernel, queue.fd.get())));
      transport::ClientRing ring(mapping.pages(), transport::Doorbell::of_kernel(node.fd(), queue.number), wake.get());
      measure(phase, ring, {});
    });
    ASSERT_EQ(counts.error, "");
    EXPECT_EQ(counts.system_calls[0], 0u) << "client thread";
    // The look at the events of a thread that never sleeps, four times a second, falls into some attempts; calls that
    // NOPs make would be in all.
    EXPECT_LT(counts.system_calls[1], std::uint64_t{kMeasured} / 4) << "ring thread";
    without = counts.system_calls[1] == 0;
    for (const std::uint64_t allocations : counts.allocations) EXPECT_EQ(allocations, 0u);
  }
  EXPECT_TRUE(without) << "of " << kAttempts << " attempts none was without that look";
}

}  // namespace
}  // namespace ml
