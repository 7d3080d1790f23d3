// Clients that break the rules over queues and memory of the kernel module. The kernel checks indices and never
// entries, so entries, arguments and files are the worker's to check: a clear refusal, or harm to the client alone.
// Needs the module, and root: it runs in the test guests (tests/kernel).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <stop_token>
#include <thread>

#include "tests/system/support/daemon.h"
#include "tests/system/support/kernel_nodes.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

using protocol::Kind;
using transport::UniqueFd;

constexpr std::uint64_t kBytes = 1u << 20;
const HelloOptions kKernel{.features = protocol::kFeatureKernel};

class KernelHostile : public testing::Test {
 protected:
  static void SetUpTestSuite() { daemon_ = std::make_unique<Daemon>(DaemonOptions{.toml = "kernel = \"on\"\n"}); }
  static void TearDownTestSuite() { daemon_.reset(); }
  void SetUp() override {
    neighbour_ = std::make_unique<RawSession>(daemon_->socket(), kKernel);
    ASSERT_TRUE(neighbour_->has_kernel());
  }
  void TearDown() override {
    compute_something(*neighbour_);
    EXPECT_EQ(daemon_->workers(), workers_) << "the worker did not survive";
  }
  static RawSession open_session() { return RawSession(daemon_->socket(), kKernel); }

  static std::unique_ptr<Daemon> daemon_;
  std::vector<pid_t> workers_ = daemon_->workers();
  std::unique_ptr<RawSession> neighbour_;
};
std::unique_ptr<Daemon> KernelHostile::daemon_;

// Entries and arguments -----------------------------------------------------------------------------------------------

// Case 22: what is rewritten behind the check is not what is used.
TEST_F(KernelHostile, AnEntryThatFlipsIsOneOrTheOtherAndNothingElse) {
  RawSession session = open_session();
  const auto queue = session.open_kernel_queue(16);
  const auto arena = session.add_kernel_arena(kBytes);
  const mlring_handle program = compile(*queue, *arena, add_one_graph());
  const mlring_argument in = arena->input(std::vector<float>(256, 1)), out = arena->output(256);
  const mlring_descriptor good = execute(*arena, program, {in, out});
  mlring_descriptor bad = good;
  bad.argument_offset = ~std::uint64_t{7};
  bad.argument_count = MLRING_ARGUMENTS_MAX;
  std::jthread flipper([&](const std::stop_token& stop) {
    const std::span<mlring_descriptor> entries = queue->descriptors();
    for (bool turn = false; !stop.stop_requested(); turn = !turn) {
      for (mlring_descriptor& entry : entries) {
        const mlring_descriptor& now = turn ? good : bad;
        MLRING_STORE(&entry.argument_offset, now.argument_offset);
        MLRING_STORE(&entry.argument_count, now.argument_count);
      }
    }
  });
  for (int i = 0; i < 300; ++i) {
    const RawQueue::Answer answer = queue->run(good);
    EXPECT_TRUE(answer.status() == MLRING_OK || answer.status() == MLRING_INVALID_ARGUMENT) << answer.message;
  }
  flipper.request_stop();
  flipper.join();
  EXPECT_EQ(queue->run(good).status(), MLRING_OK) << "the queue goes on";
}

TEST_F(KernelHostile, AnArgumentThatFlipsIsOneOrTheOtherAndNothingElse) {
  RawSession session = open_session();
  const auto queue = session.open_kernel_queue();
  const auto arena = session.add_kernel_arena(kBytes);
  const mlring_handle program = compile(*queue, *arena, add_one_graph());
  const mlring_argument in = arena->input(std::vector<float>(256, 1)), out = arena->output(256);
  const mlring_descriptor run = execute(*arena, program, {in, out});
  auto* const table = reinterpret_cast<mlring_argument*>(arena->at(run.argument_offset));
  std::jthread flipper([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      MLRING_STORE(&table[0].offset, kBytes - 4);
      MLRING_STORE(&table[1].capacity, ~std::uint64_t{0});
      MLRING_STORE(&table[0].dims[0], std::uint64_t{1} << 62);
      MLRING_STORE(&table[0].offset, in.offset);
      MLRING_STORE(&table[1].capacity, out.capacity);
      MLRING_STORE(&table[0].dims[0], in.dims[0]);
    }
  });
  for (int i = 0; i < 300; ++i) {
    const std::int32_t status = queue->run(run).status();
    EXPECT_TRUE(status == MLRING_OK || status == MLRING_INVALID_ARGUMENT || status == MLRING_TOO_SMALL) << status;
  }
}

struct Wild {
  const char* name;
  std::function<mlring_descriptor(RawArena&, mlring_handle program)> make;
  std::int32_t status;
};
void PrintTo(const Wild& one, std::ostream* out) { *out << one.name; }

// An EXECUTE of x + 1 whose first argument is changed.
std::function<mlring_descriptor(RawArena&, mlring_handle)> argument(
    const std::function<void(mlring_argument&)>& change) {
  return [change](RawArena& arena, mlring_handle program) {
    mlring_argument in = arena.input({1, 2, 3});
    const mlring_argument out = arena.output(3);
    change(in);
    return execute(arena, program, {in, out});
  };
}
std::function<mlring_descriptor(RawArena&, mlring_handle)> entry(
    const std::function<void(mlring_descriptor&)>& change) {
  return [change](RawArena& arena, mlring_handle program) {
    mlring_descriptor run = execute(arena, program, {arena.input({1, 2, 3}), arena.output(3)});
    change(run);
    return run;
  };
}

// Case 23.
std::vector<Wild> wild_ones() {
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  return {
      {"table_at_the_end_of_the_numbers", entry([](mlring_descriptor& d) { d.argument_offset = kMost - 7; }),
       MLRING_INVALID_ARGUMENT},
      {"table_that_wraps", entry([](mlring_descriptor& d) {
         d.argument_offset = kMost - 255;
         d.argument_count = 2;
       }),
       MLRING_INVALID_ARGUMENT},
      {"table_across_the_end", entry([](mlring_descriptor& d) { d.argument_offset = kBytes - 128; }),
       MLRING_INVALID_ARGUMENT},
      {"table_in_no_arena", entry([](mlring_descriptor& d) { d.argument_arena = 4711; }), MLRING_NOT_FOUND},
      {"table_of_too_many", entry([](mlring_descriptor& d) { d.argument_count = MLRING_ARGUMENTS_MAX + 1; }),
       MLRING_INVALID_ARGUMENT},
      {"operand_at_the_end_of_the_numbers", argument([](mlring_argument& a) { a.offset = kMost - 3; }),
       MLRING_INVALID_ARGUMENT},
      {"operand_that_wraps", argument([](mlring_argument& a) {
         a.offset = 64;
         a.capacity = kMost - 63;
       }),
       MLRING_INVALID_ARGUMENT},
      {"operand_across_the_end", argument([](mlring_argument& a) { a.offset = kBytes - 8; }), MLRING_INVALID_ARGUMENT},
      {"operand_with_dims_that_wrap", argument([](mlring_argument& a) {
         a.rank = 3;
         a.dims[0] = a.dims[1] = a.dims[2] = std::uint64_t{1} << 32;
       }),
       MLRING_INVALID_ARGUMENT},
      {"operand_in_no_arena", argument([](mlring_argument& a) { a.arena = 4711; }), MLRING_NOT_FOUND},
      {"operand_behind_no_handle", argument([](mlring_argument& a) {
         a.arena = 0;
         a.offset = 0;
         a.handle = {4711, 1};
       }),
       MLRING_NOT_FOUND},
      {"program_that_is_none", entry([](mlring_descriptor& d) {
         d.handle = {4711, 1};
       }),
       MLRING_NOT_FOUND},
      {"program_of_another_generation", entry([](mlring_descriptor& d) { d.handle.generation += 2; }),
       MLRING_NOT_FOUND},
      {"opcode_that_is_none", entry([](mlring_descriptor& d) { d.opcode = 99; }), MLRING_INVALID_ARGUMENT},
      {"reserved_words", entry([](mlring_descriptor& d) { d.reserved[1] = 1; }), MLRING_INVALID_ARGUMENT},
  };
}

class WildOnes : public KernelHostile, public testing::WithParamInterface<Wild> {};
INSTANTIATE_TEST_SUITE_P(Cases, WildOnes, testing::ValuesIn(wild_ones()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST_P(WildOnes, AreRefusedAndTheQueueGoesOn) {
  RawSession session = open_session();
  const auto queue = session.open_kernel_queue();
  const auto arena = session.add_kernel_arena(kBytes);
  const mlring_handle program = compile(*queue, *arena, add_one_graph());
  const RawQueue::Answer answer = queue->run(GetParam().make(*arena, program));
  EXPECT_EQ(answer.status(), GetParam().status) << answer.message;
  EXPECT_EQ(queue->nop().status(), MLRING_OK);
}

TEST_F(KernelHostile, HandlesOfAnotherSessionAreNotFound) {
  RawSession session = open_session();
  const auto queue = session.open_kernel_queue();
  const auto arena = session.add_kernel_arena(kBytes);
  RawSession other = open_session();
  const auto its_queue = other.open_kernel_queue();
  const auto its_arena = other.add_kernel_arena(kBytes);
  compile(*its_queue, *its_arena, add_one_graph());
  const mlring_handle its_program = compile(*its_queue, *its_arena, add_one_graph());
  const mlring_argument in = arena->input({1}), out = arena->output(1);
  EXPECT_EQ(queue->run(execute(*arena, its_program, {in, out})).status(), MLRING_NOT_FOUND);
  mlring_descriptor free{};
  free.opcode = MLRING_OP_FREE;
  free.handle = its_program;
  EXPECT_EQ(queue->run(free).status(), MLRING_NOT_FOUND);
  mlring_descriptor wait{};
  wait.opcode = MLRING_OP_WAIT;
  wait.handle = {its_queue->handle().index + 1, its_queue->handle().generation};
  EXPECT_EQ(queue->run(wait).status(), MLRING_NOT_FOUND);
}

// Indices -------------------------------------------------------------------------------------------------------------

TEST_F(KernelHostile, AnImpossibleTailEndsTheSession) {
  RawSession session = open_session();
  const auto queue = session.open_kernel_queue(16);
  ASSERT_EQ(queue->nop().status(), MLRING_OK);
  MLRING_STORE_RELEASE(&queue->submission()->tail, MLRING_LOAD(&queue->submission()->tail) + 17);
  transport::Doorbell::of_kernel(session.node()->fd(), queue->of_node().number).ring();
  EXPECT_EQ(queue->ended(), transport::RingState::faulted);
  const transport::Packet said = session.unasked(Kind::error);
  const auto* const failed = said.as<protocol::Failed>();
  ASSERT_NE(failed, nullptr);
  EXPECT_EQ(failed->status, MLRING_CORRUPT) << said.text();
}

// Files ---------------------------------------------------------------------------------------------------------------

struct WrongFile {
  const char* name;
  std::function<UniqueFd(RawSession&)> make;
};
void PrintTo(const WrongFile& one, std::ostream* out) { *out << one.name; }

std::vector<WrongFile> wrong_files() {
  return {
      {"a_memfd", [](RawSession&) { return make_memory({.bytes = kBytes}); }},
      {"a_device", [](RawSession&) { return UniqueFd(open("/dev/zero", O_RDWR | O_CLOEXEC)); }},
      {"an_eventfd", [](RawSession&) { return UniqueFd(eventfd(0, EFD_CLOEXEC)); }},
      {"a_path", [](RawSession&) { return UniqueFd(open("/", O_PATH | O_CLOEXEC)); }},
      {"the_node", [](RawSession& session) { return UniqueFd(dup(session.node()->fd())); }},
      {"the_sessions_socket", [](RawSession& session) { return UniqueFd(dup(session.socket())); }},
      {"a_pipe",
       [](RawSession&) {
         int ends[2];
         EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
         close(ends[1]);
         return UniqueFd(ends[0]);
       }},
  };
}

class WrongFiles : public KernelHostile, public testing::WithParamInterface<WrongFile> {
 protected:
  template <class T>
  static void expect_refused(RawSession& session, T message, Kind kind, int fd, std::int32_t status) {
    message.header.kind = static_cast<std::uint32_t>(kind);
    try {
      session.request(message, {}, {fd});
      ADD_FAILURE() << "it was taken";
    } catch (const Refused& refused) {
      EXPECT_EQ(refused.status, status) << refused.what();
    }
  }
  static protocol::OpenKernelQueue queue_message() { return {.header = {}, .depth = 64, .reserved = 0}; }
  static protocol::AddArena arena_message() { return {.header = {}, .bytes = kBytes}; }
};
INSTANTIATE_TEST_SUITE_P(Files, WrongFiles, testing::ValuesIn(wrong_files()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST_P(WrongFiles, AreRefusedAsQueueAndAsMemory) {
  RawSession session = open_session();
  const UniqueFd file = GetParam().make(session);
  ASSERT_TRUE(file);
  expect_refused(session, queue_message(), Kind::open_kernel_queue, file.get(), MLRING_INVALID_ARGUMENT);
  expect_refused(session, arena_message(), Kind::add_kernel_arena, file.get(), MLRING_INVALID_ARGUMENT);
  compute_something(session);
}

class OtherFiles : public WrongFiles {};

TEST_F(OtherFiles, MemoryIsNoQueueAndAQueueNoMemory) {
  RawSession session = open_session();
  const auto queue = session.open_kernel_queue();
  const auto arena = session.add_kernel_arena(kBytes);
  expect_refused(session, queue_message(), Kind::open_kernel_queue, arena->fd(), MLRING_INVALID_ARGUMENT);
  expect_refused(session, arena_message(), Kind::add_kernel_arena, queue->fd(0), MLRING_INVALID_ARGUMENT);
  expect_refused(session, queue_message(), Kind::open_kernel_queue, queue->fd(0), MLRING_INVALID_ARGUMENT);
  EXPECT_EQ(queue->nop().status(), MLRING_OK) << "handing it over once more does it no harm";
}

TEST_F(OtherFiles, SizesMustBeTheTruth) {
  RawSession session = open_session();
  const auto arena = session.add_kernel_arena(kBytes);
  for (const std::uint64_t bytes : {kBytes * 2, kBytes - 1, ~std::uint64_t{0}}) {
    protocol::AddArena message = arena_message();
    message.bytes = bytes;
    message.header.kind = static_cast<std::uint32_t>(Kind::add_kernel_arena);
    EXPECT_THROW(session.request(message, {}, {arena->fd()}), Refused) << bytes;
  }
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const transport::NodeQueue queue = session.node()->make_queue(32, wake.get());
  expect_refused(session, queue_message(), Kind::open_kernel_queue, queue.fd.get(), MLRING_INVALID_ARGUMENT);
  compute_something(session);
}

// A file of this user's that somebody else hands over, and the other way round.
TEST_F(OtherFiles, OfAnotherUserAreRefused) {
  RawSession session = open_session();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd here(ends[0]);
  UniqueFd there(ends[1]);
  const std::uint32_t minor = session.welcome().minor;
  ASSERT_EQ(chmod(session.node()->path().c_str(), 0666), 0) << "as udev would";
  const pid_t other = fork();
  if (other == 0) {
    constexpr uid_t kSomebody = 12345;
    const UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    try {
      if (setresuid(kSomebody, kSomebody, kSomebody) != 0) _exit(2);
      const transport::KernelNode node(minor);
      const transport::NodeQueue queue = node.make_queue(64, wake.get());
      const transport::HostMemory memory = node.make_memory(kBytes);
      const int fds[] = {queue.fd.get(), memory.fd.get()};
      protocol::Done message{};
      message.header.request = 1;
      if (!transport::send_message(there.get(), message, {}, fds)) _exit(3);
      char nothing = 0;
      [[maybe_unused]] const ssize_t got = recv(there.get(), &nothing, 1, 0);  // until the test is done
      _exit(0);
    } catch (const std::exception& error) {
      std::fputs(error.what(), stderr);
      _exit(1);
    }
  }
  there.reset();
  transport::Packet packet;
  ASSERT_EQ(transport::receive_packet(here.get(), protocol::kMaxPacket, packet), transport::Received::packet);
  ASSERT_EQ(packet.fds.size(), 2u);
  expect_refused(session, queue_message(), Kind::open_kernel_queue, packet.fds[0].get(), MLRING_DENIED);
  expect_refused(session, arena_message(), Kind::add_kernel_arena, packet.fds[1].get(), MLRING_DENIED);
  shutdown(here.get(), SHUT_RDWR);
  int status = 0;
  ASSERT_EQ(waitpid(other, &status, 0), other);
  EXPECT_EQ(status, 0);
  compute_something(session);
}

// A TCP socket whose last close() waits for a peer that never reads: closed by mld's loop or by the worker's control
// thread it would hold up everybody.
UniqueFd lingering_socket(UniqueFd& peer) {
  const UniqueFd listening(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  UniqueFd lingering(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const bool connected = bind(listening.get(), generic, size) == 0 && listen(listening.get(), 1) == 0 &&
                         getsockname(listening.get(), generic, &size) == 0 &&
                         connect(lingering.get(), generic, size) == 0;
  EXPECT_TRUE(connected) << std::strerror(errno);
  peer = UniqueFd(accept(listening.get(), nullptr, nullptr));
  const std::string much(1 << 16, 'x');
  while (send(lingering.get(), much.data(), much.size(), MSG_DONTWAIT) > 0) continue;
  const linger hour{1, 3600};
  EXPECT_EQ(setsockopt(lingering.get(), SOL_SOCKET, SO_LINGER, &hour, sizeof hour), 0);
  return lingering;
}

TEST_F(OtherFiles, ThatCloseSlowlyHoldUpNobody) {
  std::vector<UniqueFd> peers(2);
  for (const Kind kind : {Kind::open_kernel_queue, Kind::add_kernel_arena}) {
    RawSession session = open_session();
    UniqueFd file = lingering_socket(kind == Kind::open_kernel_queue ? peers[0] : peers[1]);
    daemon_->signal(SIGSTOP);  // or its close() might not be the last, but the test's
    protocol::OpenKernelQueue queue = queue_message();
    protocol::AddArena arena = arena_message();
    queue.header.request = arena.header.request = 77;
    queue.header.kind = arena.header.kind = static_cast<std::uint32_t>(kind);
    ASSERT_TRUE(kind == Kind::open_kernel_queue
                    ? transport::send_message(session.socket(), queue, {}, std::vector<int>{file.get()})
                    : transport::send_message(session.socket(), arena, {}, std::vector<int>{file.get()}));
    file.reset();
    daemon_->signal(SIGCONT);
    for (int i = 0; i < 3; ++i) {
      RawSession another = open_session();
      compute_something(another);
    }
  }
}

// Pages ---------------------------------------------------------------------------------------------------------------

TEST_F(KernelHostile, PagesOfOthersCannotBeMadeWritable) {
  RawSession session = open_session();
  const auto queue = session.open_kernel_queue();
  const mlring_layout& layout = queue->layout();
  const std::pair<std::uint64_t, std::uint64_t> runs[] = {{layout.completion_offset, layout.completion_bytes},
                                                          {layout.state_offset, layout.state_bytes}};
  for (const auto& [offset, bytes] : runs) {
    const int fd = queue->fd(0);
    EXPECT_EQ(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset)), MAP_FAILED);
    void* const readable = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
    ASSERT_NE(readable, MAP_FAILED);
    EXPECT_NE(mprotect(readable, bytes, PROT_READ | PROT_WRITE), 0);
    munmap(readable, bytes);
  }
  EXPECT_EQ(queue->nop().status(), MLRING_OK);
}

// What the kernel counts ----------------------------------------------------------------------------------------------

TEST_F(KernelHostile, DeviceMemoryIsChargedAndComesBackWithTheClient) {
  const std::uint32_t minor = *kernel_minor();
  const std::uint64_t before = kernel_attribute(minor, "memory_used");
  {
    RawSession session = open_session();
    const auto queue = session.open_kernel_queue();
    mlring_descriptor alloc{};
    alloc.opcode = MLRING_OP_ALLOC;
    alloc.operand = 8 * kBytes;
    ASSERT_EQ(queue->run(alloc).status(), MLRING_OK);
    EXPECT_EQ(kernel_attribute(minor, "memory_used"), before + 8 * kBytes);
  }
  EXPECT_TRUE(eventually([&] { return kernel_attribute(minor, "memory_used") == before; }));
}

}  // namespace
}  // namespace ml::test
