// What a session asks of its worker, what is charged meanwhile, and how it ends.
#include "daemon/sessions/sessions.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "daemon/sessions/queue_pages.h"
#include "libmlclient/transport/memfd.h"
#include "tests/unit/daemon_sessions/mld_in_a_box.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace ml::daemon {
namespace {

using protocol::Kind;
using transport::UniqueFd;

constexpr int kFixed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

UniqueFd arena(std::uint64_t bytes) {
  UniqueFd memory = transport::make_memfd("test", bytes);
  transport::seal(memory.get(), F_SEAL_SHRINK | F_SEAL_GROW);
  return memory;
}

using SessionsTest = MldInABox;

TEST_F(SessionsTest, hello_opens_a_session_with_the_users_limits) {
  config.limits.weight = 300;
  config.limits.handles = ~std::uint64_t{0};
  Client client = connect();
  client.hello("cpu");
  const auto request = take(wire::Kind::open_session);
  const auto& asked = request.as<wire::OpenSession>();
  EXPECT_EQ(asked.uid, geteuid());
  EXPECT_EQ(asked.weight, 300u);
  EXPECT_EQ(asked.queues, config.limits.queues);
  EXPECT_EQ(asked.handles, 0xffffffffu) << "as many as the field holds";
  EXPECT_EQ(asked.device_bytes, config.limits.device_bytes);
  EXPECT_EQ(asked.compile_ms, config.limits.compile_ms);
  EXPECT_TRUE(sessions->list().empty()) << "it is none before it is welcome";
  done(request);
  const auto welcome = expect<protocol::Welcome>(client, Kind::welcome, 1);
  EXPECT_EQ(last_.text(), "fake");
  EXPECT_EQ(welcome.version, protocol::kVersion);
  EXPECT_EQ(welcome.generation, 7u);
  EXPECT_EQ(welcome.threads, 3u);
  EXPECT_STREQ(welcome.device, "cpu0");
  EXPECT_STREQ(welcome.backend, "cpu");
  ASSERT_EQ(sessions->list().size(), 1u);
  const SessionInfo info = sessions->list()[0];
  EXPECT_EQ(info.id, welcome.session);
  EXPECT_EQ(info.peer.uid, geteuid());
  EXPECT_EQ(info.peer.pid, getpid());
  EXPECT_EQ(info.client, "a test?") << "what can't be printed is replaced";
  EXPECT_EQ(info.device, "cpu0");
  EXPECT_EQ(info.purpose, "interactive");
  EXPECT_EQ(devices->all()[0].sessions, 1u);
}

TEST_F(SessionsTest, a_queues_memory_is_sealed_and_goes_to_both_sides) {
  Client client = open_session();
  client.send(protocol::OpenQueue{.depth = 64, .priority = -1}, Kind::open_queue, 5);
  const auto request = take(wire::Kind::open_queue);
  const auto& asked = request.as<wire::OpenQueue>();
  EXPECT_EQ(asked.depth, 64u);
  EXPECT_EQ(asked.priority, -1);
  ASSERT_EQ(request.fds.size(), 4u);
  EXPECT_EQ(fcntl(request.fds[0].get(), F_GET_SEALS) & kFixed, kFixed);
  EXPECT_EQ(fcntl(request.fds[1].get(), F_GET_SEALS) & (kFixed | F_SEAL_FUTURE_WRITE), kFixed | F_SEAL_FUTURE_WRITE);
  const auto* const header =
      static_cast<const mlring_submission_header*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, request.fds[0].get(), 0));
  const auto* const state =
      static_cast<const mlring_state*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, request.fds[1].get(), 0));
  EXPECT_EQ(header->tail, MLRING_START);
  EXPECT_EQ(header->completion_head, MLRING_START);
  EXPECT_EQ(state->state, MLRING_STATE_ACTIVE);
  EXPECT_EQ(state->generation, 7u);
  EXPECT_EQ(state->notify_at, MLRING_NEVER);
  answer(request, wire::QueueOpened{.handle = {3, 4}}, {dup(STDERR_FILENO)});
  const auto opened = expect<protocol::QueueOpened>(client, Kind::queue, 5);
  EXPECT_EQ(opened.depth, 64u);
  EXPECT_EQ(opened.handle.index, 3u);
  EXPECT_EQ(last_.fds.size(), 5u);

  client.send(protocol::CloseQueue{.queue = opened.queue}, Kind::close_queue, 6);
  const auto close = take(wire::Kind::close_queue);
  EXPECT_EQ(state->state, MLRING_STATE_ACTIVE) << "not before the worker is done with it";
  EXPECT_EQ(used(Resource::queues), 1u);
  done(close);
  expect<protocol::Done>(client, Kind::done, 6);
  EXPECT_EQ(state->state, MLRING_STATE_CLOSED);
  EXPECT_EQ(used(Resource::queues), 0u);
  EXPECT_EQ(used(Resource::arena_bytes), 0u);
}

TEST_F(SessionsTest, what_a_session_holds_is_charged_until_the_worker_is_done_with_it) {
  Client client = open_session();
  open_queue(client);
  const UniqueFd memory = arena(8192);
  client.send(protocol::AddArena{.bytes = 8192}, Kind::add_arena, 3, {memory.get()});
  answer(take(wire::Kind::add_arena), wire::ArenaAdded{.arena = 9});
  EXPECT_EQ(expect<protocol::ArenaAdded>(client, Kind::arena, 3).arena, 9u);
  EXPECT_EQ(used(Resource::sessions), 1u);
  EXPECT_EQ(used(Resource::queues), 1u);
  EXPECT_EQ(used(Resource::arenas), 1u);
  EXPECT_EQ(used(Resource::arena_bytes), 8192 + QueuePages::bytes(64));
  EXPECT_EQ(sessions->list()[0].arena_bytes, 8192u);
  client.socket.reset();
  const auto close = take(wire::Kind::close_session);
  EXPECT_EQ(used(Resource::sessions), 1u);
  EXPECT_EQ(used(Resource::arena_bytes), 8192 + QueuePages::bytes(64)) << "it may still be written to";
  done(close);
  for (const Resource resource : {Resource::sessions, Resource::queues, Resource::arenas, Resource::arena_bytes})
    EXPECT_EQ(used(resource), 0u) << resource_name(resource);
  EXPECT_EQ(devices->all()[0].sessions, 0u);
  EXPECT_TRUE(sessions->list().empty());
}

TEST_F(SessionsTest, what_the_worker_refuses_is_not_charged) {
  Client client = open_session();
  const UniqueFd memory = arena(8192);
  client.send(protocol::OpenQueue{.depth = 64}, Kind::open_queue, 2);
  client.send(protocol::AddArena{.bytes = 8192}, Kind::add_arena, 3, {memory.get()});
  refuse(take(wire::Kind::open_queue), Error(Code::no_space, "enough queues", "here", "close some"));
  EXPECT_EQ(refusal(client, 2, Code::no_space),
            "enough queues\x1fhere\x1f"
            "close some");
  refuse(take(wire::Kind::add_arena), Error(Code::no_space, "enough arenas"));
  refusal(client, 3, Code::no_space);
  EXPECT_EQ(used(Resource::queues), 0u);
  EXPECT_EQ(used(Resource::arenas), 0u);
  EXPECT_EQ(used(Resource::arena_bytes), 0u);
}

TEST_F(SessionsTest, limits_are_kept_to_the_byte_and_named) {
  config.limits.arena_bytes = 8192;
  config.limits.queues = 0;
  Client client = open_session();
  const UniqueFd fits = arena(8192), more = arena(1);
  client.send(protocol::AddArena{.bytes = 8192}, Kind::add_arena, 2, {fits.get()});
  answer(take(wire::Kind::add_arena), wire::ArenaAdded{.arena = 1});
  expect<protocol::ArenaAdded>(client, Kind::arena, 2);
  client.send(protocol::AddArena{.bytes = 1}, Kind::add_arena, 3, {more.get()});
  EXPECT_NE(refusal(client, 3, Code::no_space).find("limits.arena_bytes"), std::string::npos);
  EXPECT_EQ(used(Resource::arenas), 1u) << "what is refused for its size doesn't count";
  client.send(protocol::OpenQueue{.depth = 64}, Kind::open_queue, 4);
  EXPECT_NE(refusal(client, 4, Code::no_space).find("limits.queues"), std::string::npos);
  client.send(protocol::RemoveArena{.arena = 1}, Kind::remove_arena, 5);
  done(take(wire::Kind::remove_arena));
  expect<protocol::Done>(client, Kind::done, 5);
  EXPECT_EQ(used(Resource::arena_bytes), 0u);
  client.send(protocol::RemoveArena{.arena = 1}, Kind::remove_arena, 6);
  refusal(client, 6, Code::not_found);
}

TEST_F(SessionsTest, too_many_sessions_are_told_when_they_say_hello) {
  config.limits.sessions = 1;
  Client first = open_session();
  Client second = connect();
  second.hello();
  EXPECT_NE(refusal(second, 1, Code::no_space).find("limits.sessions"), std::string::npos);
  EXPECT_FALSE(receive(second).has_value());
  first.socket.reset();
  done(take(wire::Kind::close_session));
  open_session();
}

TEST_F(SessionsTest, only_so_many_requests_are_under_way_at_once) {
  Client client = open_session();
  open_queue(client);
  const UniqueFd memory = arena(4096);
  for (std::uint64_t i = 0; i < 40; ++i)
    client.send(protocol::AddArena{.bytes = 4096}, Kind::add_arena, 10 + i, {memory.get()});
  ASSERT_TRUE(until([&] { return worker->requests.size() == 16; }));
  int turns = 0;
  ASSERT_TRUE(until([&] { return ++turns == 20; }));
  EXPECT_EQ(worker->requests.size(), 16u);
  for (std::uint32_t i = 0; i < 40; ++i) {
    answer(take(wire::Kind::add_arena), wire::ArenaAdded{.arena = i + 1});
    expect<protocol::ArenaAdded>(client, Kind::arena, 10 + i);
  }
  EXPECT_EQ(used(Resource::arenas), 40u);
}

TEST_F(SessionsTest, a_client_that_reads_late_gets_every_answer_and_goes_on) {
  Client client = open_session();
  // More than both sockets hold.
  constexpr std::uint64_t kRequests = 2000;
  std::uint64_t sent = 0, read = 0;
  const auto send_more = [&] {
    protocol::CloseQueue message{};
    message.header.kind = static_cast<std::uint32_t>(Kind::close_queue);
    for (; sent < kRequests; ++sent) {
      message.header.request = 100 + sent;
      if (!transport::send_message(client.socket.get(), message)) break;
    }
  };
  std::uint64_t stalled = 0, before = 0;
  ASSERT_TRUE(until([&] {
    before = sent;
    send_more();
    stalled = sent == before ? stalled + 1 : 0;
    return stalled == 20;
  }));
  ASSERT_LT(sent, kRequests) << "mld reads what it can't answer";
  ASSERT_TRUE(until([&] {
    transport::Packet packet;
    while (transport::receive_packet(client.socket.get(), protocol::kMaxPacket, packet) ==
           transport::Received::packet) {
      EXPECT_EQ(packet.kind(), static_cast<std::uint32_t>(Kind::error));
      EXPECT_EQ(packet.request(), 100 + read++);
    }
    send_more();
    return read == kRequests;
  })) << read
      << " of " << kRequests;
  open_queue(client);
}

TEST_F(SessionsTest, a_dead_worker_is_told_in_the_page_and_on_the_socket) {
  Client client = open_session();
  open_queue(client);
  const UniqueFd state = std::move(last_.fds[2]), wake = std::move(last_.fds[4]);
  const auto* const page = static_cast<const mlring_state*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, state.get(), 0));
  sessions->worker_died(*worker, "killed by signal 9");
  EXPECT_EQ(page->state, MLRING_STATE_LOST);
  EXPECT_EQ(page->generation, 8u);
  std::uint64_t rings = 0;
  EXPECT_EQ(read(wake.get(), &rings, sizeof rings), static_cast<ssize_t>(sizeof rings));
  EXPECT_EQ(expect<protocol::DeviceLost>(client, Kind::device_lost, 0).generation, 7u);
  EXPECT_EQ(used(Resource::queues), 0u);
  EXPECT_EQ(used(Resource::arena_bytes), 0u);
  EXPECT_EQ(used(Resource::sessions), 1u) << "the connection is there still";
  EXPECT_EQ(devices->all()[0].sessions, 0u);
  client.send(protocol::OpenQueue{.depth = 64}, Kind::open_queue, 9);
  refusal(client, 9, Code::device_lost);
  client.socket.reset();
  EXPECT_TRUE(until([&] { return used(Resource::sessions) == 0; }));
  EXPECT_TRUE(worker->requests.empty()) << "a dead worker is asked nothing";
}

TEST_F(SessionsTest, hello_waits_for_a_worker_and_not_for_a_drained_device) {
  auto serving = std::move(devices->all()[0].serving);
  Client client = connect();
  client.hello();
  int turns = 0;
  ASSERT_TRUE(until([&] { return ++turns == 20; }));
  devices->all()[0].serving = std::move(serving);
  sessions->device_ready();
  // It dies before it answers: the client does not notice.
  const Error died(Code::device_lost, "it died");
  refuse(take(wire::Kind::open_session), died);
  sessions->device_ready();
  done(take(wire::Kind::open_session));
  expect<protocol::Welcome>(client, Kind::welcome, 1);

  devices->drain("cpu0", true);
  Client late = connect();
  late.hello();
  refusal(late, 1, Code::again);
}

TEST_F(SessionsTest, who_has_been_running_twice_when_a_worker_died_is_refused) {
  for (int death = 0; death < 2; ++death) {
    Client client = open_session();
    worker->running = {sessions->list().at(0).id};
    sessions->worker_died(*worker, "killed by signal 11");
    expect<protocol::DeviceLost>(client, Kind::device_lost, 0);
    client.socket.reset();
    ASSERT_TRUE(until([&] { return sessions->list().empty(); }));
  }
  Client client = connect();
  client.hello();
  EXPECT_NE(refusal(client, 1, Code::denied).find("died 2 times of the work of this process"), std::string::npos);
}

TEST_F(SessionsTest, a_kicked_sessions_socket_stays_until_the_worker_has_let_go) {
  Client client = open_session();
  open_queue(client);
  const UniqueFd state = std::move(last_.fds[2]);
  const auto* const page = static_cast<const mlring_state*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, state.get(), 0));
  const std::uint64_t id = sessions->list()[0].id;
  const Peer stranger{geteuid() + 1, 1, 1, false}, admin{geteuid() + 1, 1, 1, true};
  EXPECT_THROW(sessions->kick(id, stranger), Error);
  EXPECT_THROW(sessions->kick(id + 1, admin), Error);
  EXPECT_EQ(page->state, MLRING_STATE_ACTIVE);
  sessions->kick(id, admin);
  EXPECT_EQ(page->state, MLRING_STATE_CLOSED);
  refusal(client, 0, Code::cancelled);
  transport::Packet packet;
  EXPECT_EQ(transport::receive_packet(client.socket.get(), protocol::kMaxPacket, packet), transport::Received::nothing);
  done(take(wire::Kind::close_session));
  EXPECT_FALSE(receive(client).has_value());
}

TEST_F(SessionsTest, a_client_that_broke_the_rings_rules_is_told_why) {
  Client client = open_session();
  open_queue(client);
  const UniqueFd state = std::move(last_.fds[2]);
  const auto* const page = static_cast<const mlring_state*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, state.get(), 0));
  wire::SessionEnded ended{};
  ended.session = 12345;
  sessions->session_ended(ended, "of somebody else");
  EXPECT_EQ(page->state, MLRING_STATE_ACTIVE);
  ended.session = sessions->list()[0].id;
  sessions->session_ended(ended, "an impossible index");
  EXPECT_EQ(page->state, MLRING_STATE_FAULTED);
  EXPECT_TRUE(refusal(client, 0, Code::corrupt).starts_with("an impossible index"));
}

TEST_F(SessionsTest, a_jobs_session_has_the_jobs_worker_and_does_not_count) {
  config.limits.sessions = 0;
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  Client client{UniqueFd(ends[0])};
  FakeWorker training;
  bool closed = false;
  const Peer owner{1234, 1234, getpid(), false};
  const std::uint64_t id =
      sessions->adopt(UniqueFd(ends[1]), owner,
                      {.job = 12, .worker = &training, .device = "cpu0", .on_closed = [&] { closed = true; }});
  client.hello("cpu0");
  ASSERT_TRUE(until([&] { return training.requests.size() == 1; }));
  done(training.requests.front());
  training.requests.clear();
  EXPECT_EQ(expect<protocol::Welcome>(client, Kind::welcome, 1).session, id);
  EXPECT_EQ(sessions->list()[0].purpose, "job 12");
  EXPECT_EQ(limits->used(1234, Resource::sessions), 0u);
  EXPECT_EQ(devices->all()[0].sessions, 0u);
  client.socket.reset();
  ASSERT_TRUE(until([&] { return training.requests.size() == 1; }));
  EXPECT_FALSE(closed);
  done(training.requests.front());
  EXPECT_TRUE(closed);
}

TEST_F(SessionsTest, a_job_whose_worker_died_is_told_so_and_whoever_holds_its_socket_keeps_nothing_open) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  Client client{UniqueFd(ends[0])};
  FakeWorker training;
  bool closed = false;
  sessions->adopt(UniqueFd(ends[1]), {1234, 1234, getpid(), false},
                  {.job = 12, .worker = &training, .device = "cpu0", .on_closed = [&] { closed = true; }});
  client.hello();
  ASSERT_TRUE(until([&] { return training.requests.size() == 1; }));
  done(training.requests.front());
  expect<protocol::Welcome>(client, Kind::welcome, 1);
  sessions->worker_died(training, "killed by signal 9");
  EXPECT_TRUE(closed);
  expect<protocol::DeviceLost>(client, Kind::device_lost, 0);
  EXPECT_FALSE(receive(client).has_value());
}

TEST_F(SessionsTest, a_job_whose_worker_died_before_hello_is_told_so) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  Client client{UniqueFd(ends[0])};
  FakeWorker training;
  sessions->adopt(UniqueFd(ends[1]), {1234, 1234, getpid(), false},
                  {.job = 12, .worker = &training, .device = "cpu0", .on_closed = {}});
  sessions->worker_died(training, "killed by signal 9");
  client.hello();
  refusal(client, 1, Code::device_lost);
  EXPECT_FALSE(receive(client).has_value());
}

TEST_F(SessionsTest, models_that_are_not_there_or_not_sealed_are_refused) {
  Client client = open_session();
  client.send(protocol::OpenModel{}, Kind::open_model, 2, {}, "nothing");
  refusal(client, 2, Code::not_found);
  const UniqueFd open_memory = arena(4096);
  client.send(protocol::RegisterModel{.bytes = 4096}, Kind::register_model, 3, {open_memory.get()}, "name");
  EXPECT_NE(refusal(client, 3, Code::denied).find("not sealed against writing"), std::string::npos);
}

TEST_F(SessionsTest, a_reload_tells_workers_the_weights_once_for_each_user) {
  const Client first = open_session(), second = open_session();
  config.limits.weight = 42;
  sessions->limits_changed();
  const auto request = take(wire::Kind::set_weight);
  EXPECT_EQ(request.as<wire::SetWeight>().uid, geteuid());
  EXPECT_EQ(request.as<wire::SetWeight>().weight, 42u);
  EXPECT_TRUE(worker->requests.empty());
}

}  // namespace
}  // namespace ml::daemon
