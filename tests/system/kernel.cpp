// mld, its worker and clients with the kernel module: what is registered, whose limits hold, what the watchdog ends,
// and what is left when one of them dies. Needs the module, and root: it runs in the test guests (tests/kernel).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "kernel/uapi/mlaccel_drm.h"
#include "ml/ml.h"
#include "tests/system/support/daemon.h"
#include "tests/system/support/held.h"
#include "tests/system/support/kernel_nodes.h"
#include "tests/system/support/mlctl.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

using protocol::Kind;

constexpr std::uint64_t kMiB = 1u << 20;
const HelloOptions kKernel{.features = protocol::kFeatureKernel};
const std::string kOn = "kernel = \"on\"\n";

mlring_descriptor alloc(std::uint64_t bytes) {
  mlring_descriptor d{};
  d.opcode = MLRING_OP_ALLOC;
  d.operand = bytes;
  return d;
}
mlring_descriptor free_of(mlring_handle handle) {
  mlring_descriptor d{};
  d.opcode = MLRING_OP_FREE;
  d.handle = handle;
  return d;
}
std::uint64_t memory_used() { return kernel_attribute(*kernel_minor(), "memory_used"); }

// What it throws; "" for nothing.
template <class F>
std::string error_of(F body) {
  try {
    body();
    return {};
  } catch (const Error& error) {
    return std::string(code_name(error.code())) + ": " + error.message();
  }
}

// Registering
// -----------------------------------------------------------------------------------------------------------

TEST(Registered, DevicesAreThereAsLongAsMldIs) {
  {
    Daemon daemon({.toml = kOn + "[[device]]\nname = \"a\"\ncpus = \"0\"\nmemory = \"64MiB\"\n"
                                 "[[device]]\nname = \"b\"\nbackend = \"reference\"\nmemory = \"32MiB\"\n"});
    ASSERT_TRUE(kernel_minor("a"));
    ASSERT_TRUE(kernel_minor("b"));
    EXPECT_EQ(kernel_attribute(*kernel_minor("a"), "memory_bytes"), 64 * kMiB);
    EXPECT_EQ(kernel_attribute(*kernel_minor("b"), "memory_bytes"), 32 * kMiB);
    RawSession session(daemon.socket(), HelloOptions{.device = "b", .features = protocol::kFeatureKernel});
    EXPECT_EQ(session.welcome().minor, *kernel_minor("b"));
    compute_something(session);
  }
  EXPECT_FALSE(kernel_minor());
}

TEST(Registered, ByOneMldAtATime) {
  Daemon first({.toml = kOn});
  Daemon second({.toml = kOn}, Daemon::Stopped{});
  EXPECT_TRUE(second.start_refused());
  EXPECT_NE(second.log().find("another mld has /dev/mlaccel-control open"), std::string::npos) << second.log();
  Daemon third({.toml = "kernel = \"automatic\"\n"});
  EXPECT_NE(third.log().find("clients use shared memory: another mld has"), std::string::npos) << third.log();
  RawSession session(third.socket(), kKernel);
  EXPECT_FALSE(session.has_kernel());
  compute_something(session);
}

TEST(Registered, NotWhereItIsNotWanted) {
  const Daemon daemon({.toml = "kernel = \"off\"\n"});
  EXPECT_FALSE(kernel_minor());
  EXPECT_NE(daemon.log().find("kernel = \"off\""), std::string::npos) << daemon.log();
}

// Limits
// ----------------------------------------------------------------------------------------------------------------

// The worker counts bytes, the kernel counts pages: it is the kernel that refuses.
TEST(Limits, OfTheKernelAreToldWithTheirReason) {
  Daemon daemon({.toml = kOn + "[[device]]\nname = \"cpu0\"\nmemory = \"64MiB\"\n"
                               "[limits]\ndevice_bytes = \"1MiB\"\n"});
  RawSession session(daemon.socket(), kKernel);
  const auto queue = session.open_kernel_queue();
  std::vector<mlring_handle> held;
  for (int i = 0; i < 256; ++i) {
    const RawQueue::Answer answer = queue->run(alloc(64));
    ASSERT_EQ(answer.status(), MLRING_OK) << i << ": " << answer.message;
    held.push_back(answer.completion.result);
  }
  EXPECT_EQ(memory_used(), kMiB);
  const RawQueue::Answer refused = queue->run(alloc(64));
  EXPECT_EQ(refused.status(), MLRING_NO_SPACE);
  EXPECT_NE(refused.message.find("the kernel's quota of device memory is used up"), std::string::npos)
      << refused.message;
  EXPECT_EQ(queue->run(free_of(held[7])).status(), MLRING_OK);
  EXPECT_EQ(queue->run(alloc(64)).status(), MLRING_OK);
}

// Another user asks the kernel itself for device memory: the worker gives up what the first one holds by handles.
TEST(Limits, MemoryIsGivenUpForOtherUsers) {
  Daemon daemon({.toml = kOn + "[[device]]\nname = \"cpu0\"\nmemory = \"16MiB\"\n"});
  RawSession session(daemon.socket(), kKernel);
  const auto queue = session.open_kernel_queue();
  const mlring_handle first = queue->run(alloc(6 * kMiB)).completion.result;
  const mlring_handle second = queue->run(alloc(6 * kMiB)).completion.result;
  ASSERT_NE(second.generation, 0u);
  ASSERT_EQ(chmod(session.node()->path().c_str(), 0666), 0);
  {
    const Held other({12345, 12345}, [minor = session.welcome().minor](const auto& hold) {
      const transport::KernelNode node(minor);
      drm_mlaccel_ctx_create context{};
      drm_mlaccel_bo_create wanted{};
      wanted.size = 8 * kMiB;
      wanted.flags = MLACCEL_BO_DEVICE;
      if (ioctl(node.fd(), DRM_IOCTL_MLACCEL_CTX_CREATE, &context) != 0) throw std::runtime_error("no context");
      wanted.context = context.context;
      const bool made = ioctl(node.fd(), DRM_IOCTL_MLACCEL_BO_CREATE, &wanted) == 0;
      hold(made ? "made" : std::strerror(errno));
    });
    EXPECT_EQ(other.text(), "made");
    EXPECT_LE(memory_used(), 14 * kMiB) << "the older one was given up at least";
    EXPECT_EQ(queue->run(free_of(first)).status(), MLRING_OK);
    EXPECT_EQ(queue->run(free_of(second)).status(), MLRING_OK);
    EXPECT_EQ(memory_used(), 8 * kMiB);
  }
  EXPECT_TRUE(eventually([] { return memory_used() == 0; }));
}

TEST(Limits, HostMemoryIsTheUsers) {
  Daemon daemon({.toml = kOn + "[limits.user.root]\narena_bytes = \"8MiB\"\n"});
  RawSession session(daemon.socket(), kKernel);
  const auto arena = session.add_kernel_arena(4 * kMiB);
  const std::string error = error_of([&] { session.node()->make_memory(8 * kMiB); });
  EXPECT_NE(error.find("the kernel lets this user hold 8388608 bytes of host memory"), std::string::npos) << error;
}

// The watchdog
// ----------------------------------------------------------------------------------------------------------

TEST(Watchdog, EndsAQueueWhoseWorkHangs) {
  Daemon daemon({.toml = kOn});
  RawSession neighbour(daemon.socket(), kKernel);
  RawSession session(daemon.socket(), kKernel);
  const auto queue = session.open_kernel_queue(64, 300'000'000);
  const auto arena = session.add_kernel_arena();
  const mlring_handle endless = compile(*queue, *arena, busy_graph(std::int64_t{1} << 40));
  queue->submit(execute(*arena, endless, {arena->input(std::vector<float>(256, 1)), arena->output(256)}));
  EXPECT_NE(queue->ended(), transport::RingState::active);
  const transport::Packet said = session.unasked(Kind::error);
  ASSERT_NE(said.as<protocol::Failed>(), nullptr);
  EXPECT_EQ(said.as<protocol::Failed>()->status, MLRING_TIMEOUT) << said.text();
  compute_something(neighbour);
  EXPECT_EQ(daemon.workers().size(), 1u);
}

// Deaths
// ----------------------------------------------------------------------------------------------------------------

TEST(Death, OfTheWorkerLosesItsQueuesAndNothingIsLeftCharged) {
  Daemon daemon({.toml = kOn});
  RawSession session(daemon.socket(), kKernel);
  const auto queue = session.open_kernel_queue();
  ASSERT_EQ(queue->run(alloc(kMiB)).status(), MLRING_OK);
  EXPECT_EQ(memory_used(), kMiB);
  const pid_t worker = daemon.workers().at(0);
  ASSERT_EQ(kill(worker, SIGKILL), 0);
  EXPECT_EQ(queue->ended(), transport::RingState::lost);
  session.unasked(Kind::device_lost);
  RawSession again(daemon.socket(), kKernel);
  EXPECT_GT(again.welcome().generation, session.welcome().generation);
  EXPECT_EQ(again.welcome().minor, session.welcome().minor);
  compute_something(again);
  EXPECT_TRUE(eventually([] { return memory_used() == 0; }));
}

TEST(Death, OfMldLosesItsQueuesAndTheNextOneHasNewNodes) {
  Daemon daemon({.toml = kOn});
  RawSession session(daemon.socket(), kKernel);
  const auto queue = session.open_kernel_queue();
  daemon.kill();
  EXPECT_EQ(queue->ended(), transport::RingState::lost);
  EXPECT_TRUE(eventually([] { return !kernel_minor(); }));
  daemon.start();
  RawSession again(daemon.socket(), kKernel);
  compute_something(again);
}

TEST(Death, OfAClientGivesBackWhatItHeld) {
  Daemon daemon({.toml = kOn});
  RawSession neighbour(daemon.socket(), kKernel);
  const std::uint32_t minor = *kernel_minor();
  const std::uint64_t queues = kernel_attribute(minor, "queues");
  Forked client({}, [&]() -> std::string {
    RawSession session(daemon.socket(), kKernel);
    const auto queue = session.open_kernel_queue();
    const auto arena = session.add_kernel_arena();
    if (queue->run(alloc(kMiB)).status() != MLRING_OK) return "no memory";
    const mlring_handle endless = compile(*queue, *arena, busy_graph(std::int64_t{1} << 40));
    queue->submit(execute(*arena, endless, {arena->input(std::vector<float>(256, 1)), arena->output(256)}));
    raise(SIGKILL);
    return {};
  });
  EXPECT_TRUE(eventually([] { return memory_used() == 0; }));
  EXPECT_TRUE(eventually([&] { return kernel_attribute(minor, "queues") == queues; }));
  compute_something(neighbour);
}

// Naming a node
// ---------------------------------------------------------------------------------------------------------

TEST(Naming, SaysWhatIsWrongWithANode) {
  Daemon daemon({.toml = kOn});
  const std::uint32_t minor = *kernel_minor();
  const std::string name = "kernel:" + std::to_string(minor);
  const transport::KernelNode node(minor);
  ASSERT_EQ(chmod(node.path().c_str(), 0600), 0);
  const auto answer = [](const User& user, const SessionOptions& options) {
    return Forked(user,
                  [&]() -> std::string {
                    const std::string error = error_of([&] { connect(options); });
                    return error.empty() ? default_session().transport() : error;
                  })
        .answer();
  };
  EXPECT_EQ(answer({}, {.transport = name}), name);
  EXPECT_EQ(answer({}, {.transport = name, .device = "cpu0"}), name);
  EXPECT_NE(answer({}, {.transport = name, .device = "cpu7"}).find("'cpu7' was asked for"), std::string::npos);
  const std::string denied = answer({12345, 12345}, {.transport = name});
  EXPECT_NE(denied.find("may not be opened by this user"), std::string::npos) << denied;
  EXPECT_NE(answer({}, {.transport = "kernel:77777"}).find("has no node 77777"), std::string::npos);
}

// What is shown
// ---------------------------------------------------------------------------------------------------------

TEST(Shown, AreNodesClientsAndWhatTheyHold) {
  Daemon daemon({.toml = kOn});
  RawSession session(daemon.socket(), kKernel);
  const auto queue = session.open_kernel_queue();
  ASSERT_EQ(queue->run(alloc(kMiB)).status(), MLRING_OK);
  const std::string device = mlctl_out(daemon, {"device", "show", "cpu0", "-o", "json"});
  for (const std::string& part :
       {"\"kernel_node\": \"" + session.node()->path() + "\"", std::string("\"kernel_memory_used_bytes\": 1048576"),
        std::string("\"kernel_queues\": 1")})
    EXPECT_NE(device.find(part), std::string::npos) << part << " is not in\n" << device;
  const std::string clients = mlctl_out(daemon, {"client", "ls", "-o", "json"});
  const std::string client = "\"kernel_client\": " + std::to_string(session.node()->query().client);
  for (const std::string& part : {client, std::string("\"kernel_device_bytes\": 1048576")})
    EXPECT_NE(clients.find(part), std::string::npos) << part << " is not in\n" << clients;
}

}  // namespace
}  // namespace ml::test
