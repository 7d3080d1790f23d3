// Clients that break the protocol: each ends its own session with a clear error, and nothing else.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "tests/system/support/baseline.h"
#include "tests/system/support/daemon.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

using protocol::Kind;
using transport::UniqueFd;

template <class T>
T message(Kind kind) {
  T made{};
  made.header.kind = static_cast<std::uint32_t>(kind);
  made.header.request = 77;
  return made;
}

// One daemon for all of them: each test is also the others' neighbour.
class HostileMessages : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = std::make_unique<Daemon>(); }
  static void TearDownTestSuite() { daemon_.reset(); }
  void SetUp() override { neighbour_ = std::make_unique<RawSession>(daemon_->socket()); }
  void TearDown() override { compute_something(*neighbour_); }

  // The error that mld ends the session with, and its text; the socket hangs up behind it.
  static std::string ended_with(RawSession& session, std::int32_t status) {
    const transport::Packet packet = session.unasked(Kind::error);
    const auto* const failed = packet.as<protocol::Failed>();
    EXPECT_EQ(failed != nullptr ? failed->status : 0, status) << packet.text();
    EXPECT_TRUE(session.hung_up());
    return std::string(packet.text());
  }

  static std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<RawSession> neighbour_;
};
std::unique_ptr<Daemon> HostileMessages::daemon_;

struct Case {
  const char* name;
  bool greeted;  // HELLO was said before
  std::function<void(int socket)> act;
  const char* text;  // part of the error's
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

template <class T>
std::function<void(int)> send_it(T it, std::string text = {}, int fds = 0) {
  return [it, text, fds](int socket) {
    std::vector<UniqueFd> held;
    std::vector<int> numbers;
    for (int i = 0; i < fds; ++i) {
      held.emplace_back(eventfd(0, EFD_CLOEXEC));
      numbers.push_back(held.back().get());
    }
    ASSERT_TRUE(transport::send_message(socket, it, text, numbers)) << std::strerror(errno);
  };
}
std::function<void(int)> send_bytes(std::vector<std::uint32_t> words) {
  return [words](int socket) {
    ASSERT_EQ(send(socket, words.data(), words.size() * 4, MSG_NOSIGNAL), static_cast<ssize_t>(words.size() * 4));
  };
}
template <class T>
T changed(T it, const std::function<void(T&)>& change) {
  change(it);
  return it;
}

protocol::Hello good_hello() {
  auto hello = message<protocol::Hello>(Kind::hello);
  hello.magic = protocol::kMagic;
  hello.oldest_version = protocol::kOldestVersion;
  hello.newest_version = protocol::kVersion;
  return hello;
}

std::vector<Case> cases() {
  using protocol::Hello;
  const auto open_queue = message<protocol::OpenQueue>(Kind::open_queue);
  const auto close_queue = message<protocol::CloseQueue>(Kind::close_queue);
  std::vector<Case> all = {
      {"another_message_first", false, send_it(open_queue), "the first message is not HELLO"},
      {"a_wrong_magic", false, send_it(changed<Hello>(good_hello(), [](Hello& h) { ++h.magic; })),
       "does not begin with mlaccel's number"},
      {"a_purpose_that_is_none", false, send_it(changed<Hello>(good_hello(), [](Hello& h) { h.purpose = 2; })),
       "there is no purpose 2"},
      {"a_device_without_end", false,
       send_it(changed<Hello>(good_hello(), [](Hello& h) { std::memset(h.device, 'a', sizeof h.device); })),
       "the name of the device has no end"},
      {"a_client_without_end", false,
       send_it(changed<Hello>(good_hello(), [](Hello& h) { std::memset(h.client, 'a', sizeof h.client); })),
       "the name of the client has no end"},
      {"text_behind_hello", false, send_it(good_hello(), "text"), "without text"},
      {"files_with_hello", false, send_it(good_hello(), {}, 1), "brings 1 files, expected 0"},
      {"request_number_0", false, send_it(changed<Hello>(good_hello(), [](Hello& h) { h.header.request = 0; })),
       "a request has number 0"},
      {"a_reserved_word_of_the_header", false,
       send_it(changed<Hello>(good_hello(), [](Hello& h) { h.header.reserved = 1; })), "a message of kind 1 has"},
      {"hello_twice", true, send_it(good_hello()), "there is no request of kind 1"},
      {"a_kind_that_is_none", true, send_it(message<protocol::Done>(static_cast<Kind>(99))),
       "there is no request of kind 99"},
      {"an_answer", true, send_it(message<protocol::Done>(Kind::done)), "there is no request of kind"},
      {"a_message_of_the_worker", true, send_it(message<protocol::Done>(static_cast<Kind>(256))),
       "there is no request of kind 256"},
      {"too_short_for_its_kind", true, send_it(message<protocol::Done>(Kind::open_queue)), "expected 32 without text"},
      {"too_long_for_its_kind", true, send_it(message<protocol::Hello>(Kind::open_queue)), "expected 32 without text"},
      {"text_where_none_belongs", true, send_it(open_queue, "text"), "expected 32 without text"},
      {"a_file_where_none_belongs", true, send_it(open_queue, {}, 1), "brings 1 files, expected 0"},
      {"no_file_where_one_belongs", true, send_it(message<protocol::AddArena>(Kind::add_arena)),
       "brings 0 files, expected 1"},
      {"two_files_where_one_belongs", true, send_it(message<protocol::AddArena>(Kind::add_arena), {}, 2),
       "brings 2 files, expected 1"},
      {"a_reserved_field", true,
       send_it(changed<protocol::CloseQueue>(close_queue, [](protocol::CloseQueue& c) { c.reserved = 1; })),
       "a reserved field is 1"},
      {"a_flag_that_is_none", true,
       send_it(changed<protocol::RegisterModel>(message<protocol::RegisterModel>(Kind::register_model),
                                                [](protocol::RegisterModel& r) { r.shared = 2; }),
               "name", 1),
       "a flag is 2"},
      {"less_than_a_header", true, send_bytes({1, 2, 3}), "does not begin with a header of its own size"},
      {"an_empty_header", true, send_bytes({0, 0, 0, 0, 0, 0}), "does not begin with a header of its own size"},
      {"more_text_than_packet", true, send_bytes({2, 32, 7, 0, 100, 0, 2, 0}),
       "does not begin with a header of its own size"},
      {"longer_than_any_packet", true, send_bytes(std::vector<std::uint32_t>(2100, 8400)), "longer than 8192 bytes"},
  };
  return all;
}

class BrokenProtocol : public HostileMessages, public testing::WithParamInterface<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, BrokenProtocol, testing::ValuesIn(cases()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST_P(BrokenProtocol, EndsThisSessionWithAnError) {
  const Case& one = GetParam();
  RawSession session(daemon_->socket(),
                     one.greeted ? std::optional<HelloOptions>(HelloOptions{}) : std::optional<HelloOptions>());
  std::unique_ptr<RawQueue> queue;
  if (one.greeted) queue = session.open_queue();
  one.act(session.socket());
  const std::string text = ended_with(session, MLRING_CORRUPT);
  EXPECT_NE(text.find(one.text), std::string::npos) << text;
  if (queue && queue->ended() != transport::RingState::faulted) ADD_FAILURE() << "its queue goes on";
}

TEST_F(HostileMessages, MoreFilesThanAnyMessageHas) {
  constexpr std::size_t kFiles = 4 * protocol::kMaxFds;
  RawSession session(daemon_->socket());
  std::vector<int> fds(kFiles, STDERR_FILENO);
  auto done = message<protocol::Done>(Kind::add_arena);
  done.header.bytes = sizeof done;
  iovec part{&done, sizeof done};
  alignas(cmsghdr) char control[CMSG_SPACE(kFiles * sizeof(int))] = {};
  msghdr outer{};
  outer.msg_iov = &part;
  outer.msg_iovlen = 1;
  outer.msg_control = control;
  outer.msg_controllen = sizeof control;
  cmsghdr* const files = CMSG_FIRSTHDR(&outer);
  files->cmsg_level = SOL_SOCKET;
  files->cmsg_type = SCM_RIGHTS;
  files->cmsg_len = CMSG_LEN(kFiles * sizeof(int));
  std::memcpy(CMSG_DATA(files), fds.data(), kFiles * sizeof(int));
  ASSERT_GT(sendmsg(session.socket(), &outer, MSG_NOSIGNAL), 0);
  const std::string text = ended_with(session, MLRING_CORRUPT);
  EXPECT_NE(text.find("more than " + std::to_string(protocol::kMaxFds) + " files"), std::string::npos) << text;
}

TEST_F(HostileMessages, VersionsThatMldDoesNotSpeakAreNamed) {
  for (const auto& [oldest, newest] : {std::pair(protocol::kVersion + 1, 7u), std::pair(0u, 0u), std::pair(5u, 1u)}) {
    try {
      RawSession session(daemon_->socket(), HelloOptions{.oldest = oldest, .newest = newest});
      ADD_FAILURE() << oldest << " to " << newest << " was accepted";
    } catch (const Refused& refused) {
      EXPECT_EQ(refused.status, MLRING_UNSUPPORTED);
      const std::string expected = "versions " + std::to_string(oldest) + " to " + std::to_string(newest) +
                                   " of the protocol, mld speaks 1 to " + std::to_string(protocol::kVersion);
      EXPECT_NE(std::string(refused.what()).find(expected), std::string::npos) << refused.what();
    }
  }
  RawSession newer(daemon_->socket(), HelloOptions{.oldest = 1, .newest = 9, .features = 0xffff});
  EXPECT_EQ(newer.welcome().version, protocol::kVersion) << "the newest that both speak";
  EXPECT_EQ(newer.welcome().features & ~protocol::kFeatures, 0u);
  RawSession older(daemon_->socket(), HelloOptions{.oldest = 1, .newest = 1, .features = protocol::kFeatureKernel});
  EXPECT_EQ(older.welcome().version, 1u);
  EXPECT_EQ(older.welcome().features, 0u) << "version 1 has none";
  compute_something(older);
}

TEST_F(HostileMessages, ValuesThatDoNotFitAreRefusedAndTheSessionGoesOn) {
  RawSession session(daemon_->socket());
  const auto refused = [&](auto it, std::int32_t status, const char* text) {
    try {
      session.request(it);
      ADD_FAILURE() << text << ": accepted";
    } catch (const Refused& error) {
      EXPECT_EQ(error.status, status) << error.what();
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  };
  auto open_queue = message<protocol::OpenQueue>(Kind::open_queue);
  for (const std::uint32_t depth : {0u, 1u, 3u, 65536u, ~0u}) {
    open_queue.depth = depth;
    refused(open_queue, MLRING_INVALID_ARGUMENT, "is not a power of two within bounds");
  }
  open_queue.depth = 64;
  open_queue.priority = 2;
  refused(open_queue, MLRING_INVALID_ARGUMENT, "there is no priority 2");
  auto close_queue = message<protocol::CloseQueue>(Kind::close_queue);
  close_queue.queue = 12345;
  refused(close_queue, MLRING_NOT_FOUND, "there is no queue 12345");
  auto remove_arena = message<protocol::RemoveArena>(Kind::remove_arena);
  remove_arena.arena = 12345;
  refused(remove_arena, MLRING_NOT_FOUND, "there is no arena 12345");
  EXPECT_THROW(RawSession(daemon_->socket(), HelloOptions{.device = "gpu7"}), Refused);
  compute_something(session);
}

TEST_F(HostileMessages, AQueueIsClosedOnce) {
  RawSession session(daemon_->socket());
  const auto queue = session.open_queue();
  auto close_queue = message<protocol::CloseQueue>(Kind::close_queue);
  close_queue.queue = queue->id();
  session.request(close_queue);
  EXPECT_EQ(queue->ended(), transport::RingState::closed);
  EXPECT_THROW(session.request(close_queue), Refused);
  compute_something(session);
}

// Neither what it asks nor what it is answered piles up in mld: mld stops reading, and gives it up after a while.
TEST_F(HostileMessages, AClientThatDoesNotReadIsDropped) {
  RawSession session(daemon_->socket());
  const Baseline before({daemon_->pid()});
  auto close_queue = message<protocol::CloseQueue>(Kind::close_queue);
  close_queue.header.bytes = sizeof close_queue;
  std::uint64_t sent = 0;
  int error = 0;
  for (const Deadline deadline(kPatience); !deadline.passed();) {
    const ssize_t result = send(session.socket(), &close_queue, sizeof close_queue, MSG_DONTWAIT | MSG_NOSIGNAL);
    error = errno;
    if (result > 0) {
      ++sent;
    } else if (error == EAGAIN) {
      poll(nullptr, 0, 5);
    } else {
      break;
    }
    if (sent % 1000 == 0) compute_something(*neighbour_);
  }
  EXPECT_TRUE(error == EPIPE || error == ECONNRESET) << std::strerror(error);
  EXPECT_LT(sent, 2000u) << "mld read on";
  EXPECT_TRUE(before.restored());
  EXPECT_TRUE(daemon_->logged("has not read its answers"));
}

TEST_F(HostileMessages, AClientThatSaysNothingIsDropped) {
  RawSession session(daemon_->socket(), std::nullopt);
  EXPECT_NE(ended_with(session, MLRING_TIMEOUT).find("no HELLO came"), std::string::npos);
}

TEST_F(HostileMessages, AFloodOfRequestsLetsTheOthersHaveTheirTurns) {
  RawSession flood(daemon_->socket());
  const Forked flooder(std::nullopt, [&]() -> std::string {
    auto close_queue = message<protocol::CloseQueue>(Kind::close_queue);
    for (;;) {
      try {
        flood.request(close_queue);
      } catch (const Refused&) {
        // there is no queue 0
      }
    }
  });
  for (int i = 0; i < 20; ++i) {
    RawSession session(daemon_->socket());
    compute_something(session);
  }
}

}  // namespace
}  // namespace ml::test
