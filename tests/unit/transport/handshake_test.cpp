// The handshake with a daemon that follows the protocol, and with ones that break it in every way that there is.
#include <sys/resource.h>

#include "tests/unit/transport/fake_daemon.h"

namespace ml {
namespace {

using namespace test;

TEST(Handshake, GivesAQueueThatAnswers) {
  FakeQueue queue(256);
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    d.next();
  });
  const auto transport = daemon.connect();
  EXPECT_EQ(transport->device(), "cpu0");
  EXPECT_EQ(transport->fingerprint(), "fingerprint of cpu0");
  EXPECT_TRUE(transport->shares_memory());
  transport::ClientRing& ring = transport->ring();
  mlring_descriptor nop{};
  nop.user_data = 42;
  ASSERT_TRUE(ring.submit(nop));
  queue.serve();
  transport::Completion completion;
  ASSERT_TRUE(ring.poll(completion));
  EXPECT_EQ(completion.entry.user_data, 42U);
}

TEST(Handshake, SaysWhoAsksForWhat) {
  FakeQueue queue(64);
  protocol::Hello hello{};
  std::uint32_t depth = 0;
  FakeDaemon daemon([&](FakeDaemon& d) {
    const Packet first = d.next();
    if (const auto* message = first.as<protocol::Hello>()) hello = *message;
    d.answer(first, Kind::welcome, FakeDaemon::welcome(), "f");
    const Packet second = d.next();
    if (const auto* message = second.as<protocol::OpenQueue>()) depth = message->depth;
    d.answer(second, Kind::queue, FakeDaemon::opened(64), {}, queue.fds());
    d.next();
  });
  const auto transport = daemon.connect({.device = "cpu0", .threads = 2, .depth = 64});
  EXPECT_EQ(hello.magic, protocol::kMagic);
  EXPECT_EQ(hello.oldest_version, protocol::kOldestVersion);
  EXPECT_EQ(hello.newest_version, protocol::kVersion);
  EXPECT_STREQ(hello.device, "cpu0");
  EXPECT_STREQ(hello.client, "unit_transport");
  EXPECT_EQ(depth, 64U);
}

TEST(Handshake, PassesARefusalOn) {
  FakeDaemon daemon([](FakeDaemon& d) {
    d.refuse(d.next(), Error(Code::denied, "two workers died of this session's work", "uid 7", "look at the log"));
  });
  try {
    daemon.connect();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::denied);
    EXPECT_EQ(error.message(), "two workers died of this session's work");
    EXPECT_EQ(error.context(), "uid 7");
    EXPECT_EQ(error.hint(), "look at the log");
  }
}

// mld may turn a client away before it has said anything.
TEST(Handshake, HearsARefusalThatCameBeforeTheRequest) {
  FakeDaemon daemon([](FakeDaemon& d) {
    Packet nobody;
    nobody.bytes.assign(sizeof(protocol::Header), std::byte{0});
    d.refuse(nobody, Error(Code::again, "too many sessions a second"));
    shutdown(d.socket(), SHUT_RDWR);
  });
  const Thrown thrown = thrown_by([&] { daemon.connect(); });
  EXPECT_EQ(thrown.code, Code::again);
  EXPECT_NE(thrown.text.find("too many sessions"), std::string::npos) << thrown.text;
}

TEST(Handshake, RefusesThreadsThatTheDeviceDoesNotHave) {
  FakeDaemon daemon([](FakeDaemon& d) { d.greet(); });
  const Thrown thrown = thrown_by([&] { daemon.connect({.threads = 5}); });
  EXPECT_EQ(thrown.code, Code::invalid_argument);
  EXPECT_NE(thrown.text.find("5 threads were asked for; the daemon's device 'cpu0' has 2"), std::string::npos)
      << thrown.text;
}

TEST(Handshake, RefusesADeviceNameThatDoesNotFit) {
  FakeDaemon daemon([](FakeDaemon& d) { d.next(); });
  EXPECT_EQ(thrown_by([&] { daemon.connect({.device = std::string(64, 'x')}); }).code, Code::invalid_argument);
}

// One way of breaking the protocol: what the daemon does, and what must be said about it.
struct Breach {
  const char* name;
  std::function<void(FakeDaemon&)> behave;
  Code code;
  const char* says;
};
void PrintTo(const Breach& breach, std::ostream* to) { *to << breach.name; }

std::function<void(FakeDaemon&)> welcomes(std::function<void(protocol::Welcome&)> change, std::string_view text = "f") {
  return [=](FakeDaemon& d) {
    protocol::Welcome message = FakeDaemon::welcome();
    change(message);
    d.answer(d.next(), Kind::welcome, message, text);
  };
}

// After a good greeting, a queue of these files.
std::function<void(FakeDaemon&)> opens(std::function<void(FakeQueue&, protocol::QueueOpened&)> change,
                                       std::size_t count = 5) {
  return [=](FakeDaemon& d) {
    FakeQueue queue(256);
    protocol::QueueOpened message = FakeDaemon::opened(256);
    change(queue, message);
    d.greet();
    const std::vector<int> fds = queue.fds();
    d.answer(d.next(), Kind::queue, message, {}, std::span(fds).first(count));
  };
}

std::uint64_t layout_bytes(std::uint64_t mlring_layout::*which) {
  mlring_layout layout{};
  mlring_compute_layout(&layout, 256, 4096);
  return layout.*which;
}

std::vector<Breach> breaches() {
  constexpr int kNone = 0;
  return {
      {"HangsUp", [](FakeDaemon& d) { d.next(); }, Code::device_lost, "ended this session"},
      {"HangsUpAfterGreeting", [](FakeDaemon& d) { d.greet(), d.next(); }, Code::device_lost, "ended this session"},
      {"LosesTheDevice",
       [](FakeDaemon& d) {
         d.greet();
         Packet unasked = d.next();
         unasked.bytes.assign(sizeof(protocol::Header), std::byte{0});
         d.answer(unasked, Kind::device_lost, protocol::DeviceLost{});
         d.next();
       },
       Code::device_lost, "its device was lost"},
      {"NewerVersion", welcomes([](protocol::Welcome& w) { w.version = protocol::kVersion + 1; }), Code::corrupt,
       "it chose version"},
      {"VersionZero", welcomes([](protocol::Welcome& w) { w.version = 0; }), Code::corrupt, "it chose version 0"},
      {"Features", welcomes([](protocol::Welcome& w) { w.features = 4; }), Code::corrupt, "features"},
      {"NoDevice", welcomes([](protocol::Welcome& w) { w.device[0] = '\0'; }), Code::corrupt, "has no name"},
      {"DeviceWithoutEnd", welcomes([](protocol::Welcome& w) { std::fill_n(w.device, sizeof w.device, 'x'); }),
       Code::corrupt, "has no name"},
      {"ReservedHeader", welcomes([](protocol::Welcome& w) { w.header.reserved = 1; }), Code::corrupt,
       "the answer is message 64"},
      {"WrongKind", [](FakeDaemon& d) { d.answer(d.next(), Kind::done, protocol::Done{}); }, Code::corrupt,
       "not message 64"},
      {"TooShort", [](FakeDaemon& d) { d.answer(d.next(), Kind::welcome, protocol::Done{}); }, Code::corrupt,
       "the answer is message 64 of 24 bytes"},
      {"FilesWithTheGreeting",
       [](FakeDaemon& d) {
         const int fd = d.socket();
         d.answer(d.next(), Kind::welcome, FakeDaemon::welcome(), "f", {&fd, 1});
       },
       Code::corrupt, "came with 1 files, not 0"},
      {"AnotherRequest",
       [](FakeDaemon& d) {
         d.next();
         protocol::Welcome message = FakeDaemon::welcome();
         message.header.kind = static_cast<std::uint32_t>(Kind::welcome);
         message.header.request = 99;
         transport::send_message(d.socket(), message);
         d.next();
       },
       Code::corrupt, "request 99, which was never made"},
      {"Unasked",
       [](FakeDaemon& d) {
         Packet nobody = d.next();
         nobody.bytes.assign(sizeof(protocol::Header), std::byte{0});
         d.answer(nobody, Kind::welcome, FakeDaemon::welcome());
         d.next();
       },
       Code::corrupt, "came unasked"},
      {"LyingSize",
       [](FakeDaemon& d) {
         d.next();
         protocol::Welcome message = FakeDaemon::welcome();
         message.header.kind = static_cast<std::uint32_t>(Kind::welcome);
         message.header.request = 1;
         message.header.bytes = sizeof message + 8;
         d.send_raw(std::as_bytes(std::span(&message, 1)));
         d.next();
       },
       Code::corrupt, "cut off or has no header"},
      {"LyingText",
       [](FakeDaemon& d) {
         d.next();
         protocol::Welcome message = FakeDaemon::welcome();
         message.header.kind = static_cast<std::uint32_t>(Kind::welcome);
         message.header.request = 1;
         message.header.bytes = sizeof message;
         message.header.text_bytes = UINT32_MAX;
         d.send_raw(std::as_bytes(std::span(&message, 1)));
         d.next();
       },
       Code::corrupt, "cut off or has no header"},
      {"OneByte",
       [](FakeDaemon& d) {
         d.next();
         const std::byte byte{1};
         d.send_raw({&byte, 1});
         d.next();
       },
       Code::corrupt, "cut off or has no header"},
      {"TooLong",
       [](FakeDaemon& d) {
         d.next();
         const std::vector<std::byte> bytes(protocol::kMaxPacket + 1, std::byte{1});
         d.send_raw(bytes);
         d.next();
       },
       Code::corrupt, "cut off or has no header"},
      {"ErrorThatIsNone", [](FakeDaemon& d) { d.answer(d.next(), Kind::error, protocol::Failed{}, "all is well"); },
       Code::corrupt, "an error that is none"},
      {"MissingFiles", opens([](FakeQueue&, protocol::QueueOpened&) {}, 4), Code::corrupt, "came with 4 files, not 5"},
      {"NoFiles", opens([](FakeQueue&, protocol::QueueOpened&) {}, 0), Code::corrupt, "came with 0 files, not 5"},
      {"AnotherDepth", opens([](FakeQueue&, protocol::QueueOpened& m) { m.depth = 512; }), Code::corrupt,
       "a queue of depth 256 was asked for, it has 512"},
      {"UnsealedSubmission", opens([](FakeQueue& q, protocol::QueueOpened&) {
         q.submission = FakeQueue::sealed(layout_bytes(&mlring_layout::submission_bytes), kNone);
       }),
       Code::corrupt, "the submission memory is not sealed against shrinking"},
      {"UnsealedCompletion", opens([](FakeQueue& q, protocol::QueueOpened&) {
         q.completion = FakeQueue::sealed(layout_bytes(&mlring_layout::completion_bytes), F_SEAL_GROW);
       }),
       Code::corrupt, "the completion memory is not sealed against shrinking"},
      {"UnsealedState", opens([](FakeQueue& q, protocol::QueueOpened&) {
         q.state = FakeQueue::sealed(layout_bytes(&mlring_layout::state_bytes), kNone);
       }),
       Code::corrupt, "the state memory is not sealed against shrinking"},
      {"ShortSubmission", opens([](FakeQueue& q, protocol::QueueOpened&) { q.submission = FakeQueue::sealed(4096); }),
       Code::corrupt, "the submission memory has 4096 bytes"},
      {"LongCompletion", opens([](FakeQueue& q, protocol::QueueOpened&) {
         q.completion = FakeQueue::sealed(layout_bytes(&mlring_layout::completion_bytes) + 4096);
       }),
       Code::corrupt, "the completion memory has"},
      {"EmptyState", opens([](FakeQueue& q, protocol::QueueOpened&) { q.state = FakeQueue::sealed(0); }), Code::corrupt,
       "the state memory has 0 bytes"},
      {"FilesInAnotherOrder", opens([](FakeQueue& q, protocol::QueueOpened&) { std::swap(q.submission, q.wake); }),
       Code::corrupt, "the submission memory has 0 bytes"},
      {"SubmissionThatCannotBeWritten", opens([](FakeQueue& q, protocol::QueueOpened&) {
         q.submission = FakeQueue::sealed(layout_bytes(&mlring_layout::submission_bytes),
                                          F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
       }),
       Code::corrupt, "mmap"},
      {"DoorbellThatIsNone", opens([](FakeQueue& q, protocol::QueueOpened&) {
         q.doorbell = UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC));
       }),
       Code::corrupt, "without its eventfds"},
  };
}

class Broken : public testing::TestWithParam<Breach> {};

TEST_P(Broken, IsRefusedWithTheReason) {
  const Breach& breach = GetParam();
  FakeDaemon daemon(breach.behave);
  const Thrown thrown = thrown_by([&] { daemon.connect(); });
  EXPECT_EQ(thrown.code, breach.code) << thrown.text;
  EXPECT_NE(thrown.text.find(breach.says), std::string::npos) << thrown.text;
}
INSTANTIATE_TEST_SUITE_P(Handshakes, Broken, testing::ValuesIn(breaches()),
                         [](const auto& instance) { return std::string(instance.param.name); });

// The daemon is not to blame for what this process may not open.
TEST(Handshake, SaysThatTheProcessIsOutOfFiles) {
  FakeQueue queue(256);
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    d.next();
  });
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const UniqueFd highest(dup(daemon.socket()));
  const rlimit tight{static_cast<rlim_t>(highest.get()) + 3, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  const Thrown thrown = thrown_by([&] { daemon.connect(); });
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(thrown.code, Code::no_space);
  EXPECT_NE(thrown.text.find("this process has as many as it may"), std::string::npos) << thrown.text;
}

TEST(Transport, NamesThatCannotBe) {
  EXPECT_EQ(thrown_by([] { transport::open_transport({.transport = "unix:" + std::string(200, 'x')}); }).code,
            Code::io);
  EXPECT_EQ(thrown_by([] { transport::open_transport({.transport = "fd:-1"}); }).code, Code::invalid_argument);
  EXPECT_EQ(thrown_by([] { transport::open_transport({.transport = "fd:1000000"}); }).code, Code::io);
  UniqueFd file = transport::make_memfd("no socket", 0);
  const std::string fd = "fd:" + std::to_string(file.release());
  EXPECT_EQ(thrown_by([&] { transport::open_transport({.transport = fd}); }).code, Code::io);
}

}  // namespace
}  // namespace ml
