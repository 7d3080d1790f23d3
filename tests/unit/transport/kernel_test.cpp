// The kernel module as far as it is said on the session socket: what is offered, what is done where there is no node.
#include "kernel/uapi/mlaccel_drm.h"
#include "libmlclient/transport/daemon_session.h"
#include "libmlclient/transport/kernel_node.h"
#include "tests/unit/transport/fake_daemon.h"

namespace ml {
namespace {

using namespace test;

constexpr std::uint32_t kNoSuchMinor = 1'000'000;

std::unique_ptr<transport::DaemonSession> greet(FakeDaemon& daemon, std::uint64_t offers) {
  return std::make_unique<transport::DaemonSession>(daemon.take_client(), "test", SessionOptions{}, offers);
}

// A daemon whose device has a node, which is not on this machine.
void grant(FakeDaemon& daemon, protocol::Hello& hello, std::uint32_t version = protocol::kVersion) {
  const Packet first = daemon.next();
  if (const auto* message = first.as<protocol::Hello>()) hello = *message;
  protocol::Welcome welcome = FakeDaemon::welcome();
  welcome.version = version;
  welcome.features = hello.features & protocol::kFeatureKernel;
  if (welcome.features != 0) welcome.minor = kNoSuchMinor;
  daemon.answer(first, Kind::welcome, welcome, "f");
}

TEST(KernelHandshake, IsOfferedAndToldTheNode) {
  protocol::Hello hello{};
  FakeDaemon daemon([&](FakeDaemon& d) { grant(d, hello); });
  const auto session = greet(daemon, protocol::kFeatureKernel);
  daemon.finish();
  EXPECT_EQ(hello.features, protocol::kFeatureKernel);
  EXPECT_EQ(session->minor(), kNoSuchMinor);
  EXPECT_EQ(session->generation(), 1u);
}

TEST(KernelHandshake, IsNotOfferedByThoseWhoDoWithout) {
  protocol::Hello hello{};
  FakeDaemon daemon([&](FakeDaemon& d) { grant(d, hello); });
  const auto session = greet(daemon, 0);
  daemon.finish();
  EXPECT_EQ(hello.features, 0u);
  EXPECT_FALSE(session->minor());
}

TEST(KernelHandshake, GoesOnWithADaemonOfTheVersionBefore) {
  FakeDaemon daemon([&](FakeDaemon& d) {
    protocol::Welcome welcome = FakeDaemon::welcome();
    welcome.version = 1;
    d.answer(d.next(), Kind::welcome, welcome, "f");
  });
  EXPECT_FALSE(greet(daemon, protocol::kFeatureKernel)->minor());
}

TEST(KernelTransport, IsUnixWhereTheNodeCannotBeOpened) {
  FakeQueue queue(256);
  protocol::Hello hello{};
  std::uint32_t asked = 0;
  FakeDaemon daemon([&](FakeDaemon& d) {
    grant(d, hello);
    const Packet second = d.next();
    asked = second.kind();
    d.answer(second, Kind::queue, FakeDaemon::opened(256), {}, queue.fds());
    d.next();
  });
  const auto transport = transport::make_preferred(greet(daemon, protocol::kFeatureKernel), "/none", {});
  EXPECT_EQ(asked, static_cast<std::uint32_t>(Kind::open_queue));
  EXPECT_EQ(transport->name(), "test");
  ASSERT_TRUE(transport->ring().submit(mlring_descriptor{}));
  queue.serve();
  transport::Completion completion;
  EXPECT_TRUE(transport->ring().poll(completion));
}

TEST(KernelTransport, SaysWhyItIsNotToBeHadWhenItIsDemanded) {
  protocol::Hello hello{};
  FakeDaemon granting([&](FakeDaemon& d) { grant(d, hello); });
  const Thrown no_node =
      thrown_by([&] { transport::make_kernel(greet(granting, protocol::kFeatureKernel), "/the/socket", {}); });
  EXPECT_EQ(no_node.code, Code::not_found);
  EXPECT_NE(no_node.text.find("the kernel module has no node 1000000"), std::string::npos) << no_node.text;
  FakeDaemon refusing([&](FakeDaemon& d) { d.greet(); });
  const Thrown no_kernel =
      thrown_by([&] { transport::make_kernel(greet(refusing, protocol::kFeatureKernel), "/the/socket", {}); });
  EXPECT_EQ(no_kernel.code, Code::unsupported);
  EXPECT_NE(no_kernel.text.find("the daemon at '/the/socket' does not use the kernel module for 'cpu0'"),
            std::string::npos)
      << no_kernel.text;
}

TEST(KernelTransport, NamesThatCannotBe) {
  EXPECT_EQ(thrown_by([] { transport::open_transport({.transport = "kernel:1000000"}); }).code, Code::not_found);
  for (const char* const name : {"kernel:", "kernel:x", "kernel:-1", "kernel:1x", "kernel:99999999999"})
    EXPECT_EQ(thrown_by([&] { transport::open_transport({.transport = name}); }).code, Code::invalid_argument) << name;
}

TEST(Doorbell, OfAnEventfdIsAWrite) {
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  transport::Doorbell(event.get()).ring();
  std::uint64_t count = 0;
  EXPECT_EQ(read(event.get(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
  EXPECT_EQ(count, 1u);
  transport::Doorbell::of_kernel(event.get(), 7).ring();  // no node: nothing happens to it
  EXPECT_LT(read(event.get(), &count, sizeof count), 0);
}

}  // namespace
}  // namespace ml
