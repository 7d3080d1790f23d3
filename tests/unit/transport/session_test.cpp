// What is said on the socket after the handshake, and how a session ends.
#include <atomic>
#include <latch>

#include "libmlclient/transport/session_socket.h"
#include "tests/unit/transport/fake_daemon.h"

namespace ml {
namespace {

using namespace test;
using transport::RingState;
using transport::SessionSocket;

protocol::ArenaAdded numbered(std::uint32_t arena) {
  protocol::ArenaAdded message{};
  message.arena = arena;
  return message;
}

TEST(Session, AnArenaIsSealedMemoryAndGetsANumber) {
  FakeQueue queue(256);
  std::uint64_t bytes = 0;
  int seals = 0;
  std::uint32_t removed = 0;
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    const Packet add = d.next();
    if (const auto* message = add.as<protocol::AddArena>()) bytes = message->bytes;
    if (add.fds.size() == 1) seals = fcntl(add.fds[0].get(), F_GET_SEALS);
    d.answer(add, Kind::arena, numbered(12));
    const Packet remove = d.next();
    if (const auto* message = remove.as<protocol::RemoveArena>()) removed = message->arena;
    d.answer(remove, Kind::done, protocol::Done{});
    d.next();
  });
  {
    const auto transport = daemon.connect();
    const UniqueFd memory = FakeQueue::sealed(8192);
    EXPECT_EQ(transport->add_arena(nullptr, 8192, memory.get()), 12U);
    transport->remove_arena(12);
  }
  daemon.finish();
  EXPECT_EQ(bytes, 8192U);
  EXPECT_EQ(seals & (F_SEAL_SHRINK | F_SEAL_GROW), F_SEAL_SHRINK | F_SEAL_GROW);
  EXPECT_EQ(removed, 12U);
}

TEST(Session, ARefusedRequestLeavesItAsItWas) {
  FakeQueue queue(256);
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    d.refuse(d.next(), Error(Code::no_space, "uid 7 holds 16384 arenas, its limit is 16384"));
    d.answer(d.next(), Kind::arena, numbered(1));
    d.next();
  });
  const auto transport = daemon.connect();
  const UniqueFd memory = FakeQueue::sealed(4096);
  const Thrown thrown = thrown_by([&] { transport->add_arena(nullptr, 4096, memory.get()); });
  EXPECT_EQ(thrown.code, Code::no_space);
  EXPECT_NE(thrown.text.find("16384 arenas"), std::string::npos) << thrown.text;
  EXPECT_EQ(transport->add_arena(nullptr, 4096, memory.get()), 1U);
}

TEST(Session, ThreadsGetTheirOwnAnswersInWhateverOrderTheyCome) {
  constexpr int kThreads = 4;
  FakeDaemon daemon([&](FakeDaemon& d) {
    std::vector<Packet> requests;
    for (int i = 0; i < kThreads; ++i) requests.push_back(d.next());
    for (auto request = requests.rbegin(); request != requests.rend(); ++request) {
      const auto* message = request->as<protocol::AddArena>();
      d.answer(*request, Kind::arena, numbered(message ? static_cast<std::uint32_t>(message->bytes) : 0));
    }
    d.next();
  });
  SessionSocket socket(daemon.take_client(), "fake");
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int i = 1; i <= kThreads; ++i) {
    threads.emplace_back([&socket, &right, i] {
      protocol::AddArena request{};
      request.bytes = static_cast<std::uint64_t>(i);
      const Packet answer = socket.ask<protocol::ArenaAdded>(request, Kind::add_arena, Kind::arena);
      if (answer.as<protocol::ArenaAdded>()->arena == static_cast<std::uint32_t>(i)) ++right;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, kThreads);
}

TEST(Session, EverybodyWhoWaitsForAnAnswerIsToldThatTheDaemonIsGone) {
  constexpr int kThreads = 4;
  FakeDaemon daemon([&](FakeDaemon& d) {
    for (int i = 0; i < kThreads; ++i) d.next();
  });
  SessionSocket socket(daemon.take_client(), "fake");
  std::atomic<int> told{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const auto ask = [&] {
        socket.ask<protocol::Done>(protocol::CloseQueue{}, Kind::close_queue, Kind::done, 0, {}, {}, -1);
      };
      if (thrown_by(ask).code == Code::device_lost) ++told;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(told, kThreads);
  EXPECT_EQ(thrown_by([&] { socket.ask<protocol::Done>(protocol::CloseQueue{}, Kind::close_queue, Kind::done); }).code,
            Code::device_lost);
}

TEST(Session, ADaemonThatDoesNotAnswerIsGivenUpAndItsLateAnswerIgnored) {
  std::latch given_up(1);
  FakeDaemon daemon([&](FakeDaemon& d) {
    const Packet late = d.next();
    given_up.wait();
    d.answer(late, Kind::done, protocol::Done{});
    d.answer(d.next(), Kind::arena, numbered(3));
    d.next();
  });
  SessionSocket socket(daemon.take_client(), "fake");
  EXPECT_EQ(thrown_by([&] {
              socket.ask<protocol::Done>(protocol::CloseQueue{}, Kind::close_queue, Kind::done, 0, {}, {}, 20);
            }).code,
            Code::timeout);
  given_up.count_down();
  const Packet answer = socket.ask<protocol::ArenaAdded>(protocol::AddArena{}, Kind::add_arena, Kind::arena);
  EXPECT_EQ(answer.as<protocol::ArenaAdded>()->arena, 3U);
}

// The daemon's answers would fill the socket, and the daemon would stand still.
TEST(Session, AnswersThatNobodyWaitsForAreReadAllTheSame) {
  constexpr int kRemoved = 3000;
  FakeQueue queue(256);
  int seen = 0;
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    for (Packet request = d.next(); request.kind() != 0; request = d.next()) {
      d.answer(request, Kind::done, protocol::Done{});
      ++seen;
    }
  });
  {
    const auto transport = daemon.connect();
    for (int i = 1; i <= kRemoved; ++i) transport->remove_arena(static_cast<std::uint32_t>(i));
  }
  daemon.finish();
  EXPECT_EQ(seen, kRemoved);
}

TEST(Session, AHangUpWakesAClientThatSleeps) {
  FakeQueue queue(256);
  std::latch asleep(1);
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    asleep.wait();
  });
  const auto transport = daemon.connect();
  transport::ClientRing& ring = transport->ring();
  ASSERT_TRUE(ring.submit(mlring_descriptor{}));
  asleep.count_down();
  EXPECT_FALSE(ring.wait({.long_work = true}));
  EXPECT_EQ(ring.state(), RingState::lost);
  EXPECT_FALSE(ring.submit(mlring_descriptor{}));
}

TEST(Session, WhatWasAnsweredBeforeAHangUpCanStillBeRead) {
  FakeQueue queue(256);
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    d.next();
  });
  const auto transport = daemon.connect();
  transport::ClientRing& ring = transport->ring();
  ASSERT_TRUE(ring.submit(mlring_descriptor{}));
  queue.serve();
  transport->hang_up();
  ring.look_for_life();
  EXPECT_EQ(ring.state(), RingState::lost);
  transport::Completion completion;
  EXPECT_TRUE(ring.poll(completion));
}

TEST(Session, AClientThatOnlyLooksSeesTheHangUp) {
  FakeQueue queue(256);
  std::latch connected(1);
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    connected.wait();
  });
  const auto transport = daemon.connect();
  transport->ring().look_for_life();
  EXPECT_EQ(transport->ring().state(), RingState::active);
  connected.count_down();
  daemon.finish();
  transport->ring().look_for_life();
  EXPECT_EQ(transport->ring().state(), RingState::lost);
}

TEST(Session, ALostWorkerIsSeenInTheStatePage) {
  FakeQueue queue(256);
  std::latch submitted(1);
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    submitted.wait();
    queue.set_state(MLRING_STATE_LOST);
    queue.ring();
    d.next();
  });
  const auto transport = daemon.connect();
  transport::ClientRing& ring = transport->ring();
  ASSERT_TRUE(ring.submit(mlring_descriptor{}));
  submitted.count_down();
  EXPECT_FALSE(ring.wait({.long_work = true}));
  EXPECT_EQ(ring.state(), RingState::lost);
}

TEST(Session, AModelIsAProgramAndAFile) {
  FakeQueue queue(256);
  std::string reference;
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    const Packet request = d.next();
    reference = request.text();
    const UniqueFd file = FakeQueue::sealed(100);
    const int fd = file.get();
    protocol::ModelOpened opened{};
    opened.program = {3, 9};
    opened.version = 4;
    opened.bytes = 100;
    d.answer(request, Kind::model, opened, {}, {&fd, 1});
    d.next();
  });
  const auto transport = daemon.connect();
  const transport::OpenedModel model = transport->open_model("ada/fashion@prod");
  EXPECT_EQ(reference, "ada/fashion@prod");
  EXPECT_EQ(model.program.index, 3U);
  EXPECT_EQ(model.program.generation, 9U);
  EXPECT_EQ(model.version, 4U);
  EXPECT_TRUE(model.file);
}

struct LyingModel {
  const char* name;
  protocol::ModelOpened opened;
  bool is_a_file;
  const char* says;
};
void PrintTo(const LyingModel& model, std::ostream* to) { *to << model.name; }
class Lying : public testing::TestWithParam<LyingModel> {};

TEST_P(Lying, ModelsAreRefused) {
  const LyingModel& lie = GetParam();
  FakeQueue queue(256);
  FakeDaemon daemon([&](FakeDaemon& d) {
    d.shake_hands(queue);
    const UniqueFd file = FakeQueue::sealed(100);
    const int fd = lie.is_a_file ? file.get() : d.socket();
    d.answer(d.next(), Kind::model, lie.opened, {}, {&fd, 1});
    d.next();
  });
  const auto transport = daemon.connect();
  const Thrown thrown = thrown_by([&] { transport->open_model("fashion"); });
  EXPECT_EQ(thrown.code, Code::corrupt);
  EXPECT_NE(thrown.text.find(lie.says), std::string::npos) << thrown.text;
  transport->ring().look_for_life();
  EXPECT_EQ(transport->ring().state(), RingState::lost) << "a session with a liar goes on";
}
INSTANTIATE_TEST_SUITE_P(Sessions, Lying,
                         testing::Values(LyingModel{"NoProgram", {{}, {1, 0}, 1, 100}, true, "has no program"},
                                         LyingModel{"LongerFile", {{}, {1, 1}, 1, 101}, true, "is not the 101 bytes"},
                                         LyingModel{"NoFile", {{}, {1, 1}, 1, 0}, false, "is not the 0 bytes"}),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace ml
