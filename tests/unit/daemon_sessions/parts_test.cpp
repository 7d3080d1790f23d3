// The parts of a session that stand alone.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "daemon/sessions/culprits.h"
#include "daemon/sessions/disposal.h"
#include "daemon/sessions/outbox.h"
#include "libmlclient/transport/seqpacket.h"
#include "libmlclient/transport/session_protocol.h"

namespace ml::daemon {
namespace {

using transport::UniqueFd;

struct Pair {
  UniqueFd ours, theirs;
};
Pair connected() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

bool send(Outbox& outbox, const UniqueFd& socket, std::uint64_t number, std::span<const int> fds = {}) {
  transport::protocol::Done message{};
  message.header.kind = static_cast<std::uint32_t>(transport::protocol::Kind::done);
  message.header.request = number;
  return outbox.send(socket.get(), std::as_writable_bytes(std::span(&message, 1)), "text", fds);
}

TEST(OutboxTest, keeps_what_the_socket_does_not_take_in_order_and_no_more_than_it_may) {
  const Pair pair = connected();
  Outbox outbox;
  std::uint64_t sent = 0;
  while (outbox.empty()) {
    const UniqueFd file(eventfd(0, EFD_CLOEXEC));
    const int fds[] = {file.get()};
    ASSERT_TRUE(send(outbox, pair.ours, ++sent, fds));
  }
  for (std::size_t i = 1; i < Outbox::kMost; ++i) ASSERT_TRUE(send(outbox, pair.ours, ++sent));
  EXPECT_FALSE(send(outbox, pair.ours, sent + 1)) << "whoever does not read is given up";
  for (std::uint64_t number = 1; number <= sent; ++number) {
    transport::Packet packet;
    if (transport::receive_packet(pair.theirs.get(), 8192, packet) == transport::Received::nothing) {
      ASSERT_TRUE(outbox.flush(pair.ours.get()));
      ASSERT_EQ(transport::receive_packet(pair.theirs.get(), 8192, packet), transport::Received::packet);
    }
    EXPECT_EQ(packet.request(), number);
    EXPECT_EQ(packet.text(), "text");
    EXPECT_EQ(packet.fds.size(), number + Outbox::kMost > sent + 1 ? 0u : 1u) << number << " of " << sent;
  }
  EXPECT_TRUE(outbox.empty());
}

TEST(OutboxTest, says_that_the_client_is_gone) {
  Pair pair = connected();
  pair.theirs.reset();
  Outbox outbox;
  EXPECT_FALSE(send(outbox, pair.ours, 1));
}

TEST(CulpritsTest, a_process_is_known_by_its_start_time_too) {
  const ProcessIdentity self = identify(geteuid(), getpid());
  EXPECT_GT(self.start_time, 0u);
  EXPECT_EQ(self, identify(geteuid(), getpid()));
  Culprits culprits;
  culprits.add(self);
  EXPECT_EQ(culprits.deaths(self), 1u);
  ProcessIdentity another = self;
  ++another.start_time;
  EXPECT_EQ(culprits.deaths(another), 0u) << "the number was used again";
  culprits.add(self);
  EXPECT_EQ(culprits.deaths(self), 2u);
}

TEST(CulpritsTest, processes_that_have_ended_are_forgotten_when_there_are_many) {
  Culprits culprits;
  const ProcessIdentity self = identify(geteuid(), getpid());
  culprits.add(self);
  const ProcessIdentity ended{geteuid(), 1 << 30, 5};
  culprits.add(ended);
  for (std::uint64_t i = 0; i < 1000; ++i) culprits.add({geteuid(), 1 << 30, 100 + i});
  EXPECT_EQ(culprits.deaths(self), 1u);
  EXPECT_EQ(culprits.deaths(ended), 0u);
}

// Until a condition holds that another thread brings about.
template <class F>
bool eventually(F condition) {
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       std::chrono::steady_clock::now() < end; std::this_thread::yield())
    if (condition()) return true;
  return false;
}

TEST(DisposalTest, closes_files_and_hangs_up_so_that_the_last_word_is_read) {
  Disposal disposal;
  Pair pair = connected();
  const int number = pair.ours.get();
  ASSERT_EQ(::send(pair.theirs.get(), "unread", 6, 0), 6);
  ASSERT_EQ(::send(pair.ours.get(), "last word", 9, 0), 9);
  disposal.hang_up(1000, std::move(pair.ours));
  ASSERT_TRUE(eventually([&] { return fcntl(number, F_GETFD) < 0; }));
  char text[16];
  EXPECT_EQ(recv(pair.theirs.get(), text, sizeof text, 0), 9) << "and no ECONNRESET";
  EXPECT_EQ(recv(pair.theirs.get(), text, sizeof text, 0), 0);

  std::vector<UniqueFd> files;
  files.emplace_back(eventfd(0, EFD_CLOEXEC));
  files.emplace_back();
  const int file = files[0].get();
  disposal.close(1001, std::move(files));
  EXPECT_TRUE(eventually([&] { return fcntl(file, F_GETFD) < 0; }));
  EXPECT_FALSE(disposal.overdue(1000));
}

}  // namespace
}  // namespace ml::daemon
