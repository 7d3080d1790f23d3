// Clients that send memory of the wrong kind, or play with memory that is shared: a clear refusal, or harm to
// themselves alone.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/memfd.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <thread>

#include "tests/system/support/daemon.h"
#include "tests/system/support/raw_session.h"
#include "tests/system/support/scratch.h"

namespace ml::test {
namespace {

using protocol::Kind;
using transport::UniqueFd;

constexpr std::uint64_t kBytes = 1u << 20;
constexpr int kFixed = F_SEAL_SHRINK | F_SEAL_GROW;

class HostileMemory : public testing::Test {
 protected:
  // Of the two loops the one that nothing interrupts in what it waits for.
  static void SetUpTestSuite() { daemon_ = std::make_unique<Daemon>(DaemonOptions{.toml = "loop = \"epoll\"\n"}); }
  static void TearDownTestSuite() { daemon_.reset(); }
  void SetUp() override { neighbour_ = std::make_unique<RawSession>(daemon_->socket()); }
  void TearDown() override {
    compute_something(*neighbour_);
    EXPECT_EQ(daemon_->workers(), workers_) << "the worker did not survive";
  }

  static std::unique_ptr<Daemon> daemon_;
  std::vector<pid_t> workers_ = daemon_->workers();
  std::unique_ptr<RawSession> neighbour_;
};
std::unique_ptr<Daemon> HostileMemory::daemon_;

UniqueFd memory(unsigned flags, int seals, std::uint64_t bytes = kBytes) {
  UniqueFd made(memfd_create("hostile", MFD_CLOEXEC | flags));
  EXPECT_TRUE(made) << std::strerror(errno);
  EXPECT_EQ(ftruncate(made.get(), static_cast<off_t>(bytes)), 0) << std::strerror(errno);
  if (seals != 0 && fcntl(made.get(), F_ADD_SEALS, seals) != 0) ADD_FAILURE() << std::strerror(errno);
  return made;
}
UniqueFd reopened(const UniqueFd& fd, int flags) {
  return UniqueFd(open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), flags | O_CLOEXEC));
}

struct Case {
  const char* name;
  std::function<UniqueFd()> make;
  std::uint64_t said_bytes;
  std::int32_t status;
  const char* text;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

std::vector<Case> cases() {
  constexpr unsigned kSealable = MFD_ALLOW_SEALING;
  const auto file = [](const char* path, int flags) {
    return [path, flags] { return UniqueFd(open(path, flags | O_CLOEXEC)); };
  };
  return {
      {"unsealed", [] { return memory(kSealable, 0); }, kBytes, MLRING_DENIED, "not sealed against shrinking"},
      {"sealed_for_nobody", [] { return memory(0, 0); }, kBytes, MLRING_DENIED, "not sealed against shrinking"},
      {"may_shrink", [] { return memory(kSealable, F_SEAL_GROW); }, kBytes, MLRING_DENIED,
       "not sealed against shrinking"},
      {"may_grow", [] { return memory(kSealable, F_SEAL_SHRINK); }, kBytes, MLRING_DENIED,
       "not sealed against growing"},
      {"read_only", [] { return memory(kSealable, kFixed | F_SEAL_WRITE); }, kBytes, MLRING_DENIED,
       "sealed against writing"},
      {"read_only_in_future", [] { return memory(kSealable, kFixed | F_SEAL_FUTURE_WRITE); }, kBytes, MLRING_DENIED,
       "sealed against writing"},
      {"opened_read_only", [] { return reopened(memory(kSealable, kFixed), O_RDONLY); }, kBytes, MLRING_DENIED,
       "not open for reading and writing"},
      {"opened_as_a_path", [] { return reopened(memory(kSealable, kFixed), O_PATH); }, kBytes, MLRING_INVALID_ARGUMENT,
       "no memfd"},
      {"truncated", [] { return memory(kSealable, kFixed, kBytes / 2); }, kBytes, MLRING_INVALID_ARGUMENT,
       "has 524288 bytes and was said to have 1048576"},
      {"longer_than_said", [] { return memory(kSealable, kFixed, 2 * kBytes); }, kBytes, MLRING_INVALID_ARGUMENT,
       "has 2097152 bytes and was said to have 1048576"},
      {"empty", [] { return memory(kSealable, kFixed, 0); }, 0, MLRING_INVALID_ARGUMENT, "was said to have 0"},
      {"said_to_be_endless", [] { return memory(kSealable, kFixed); }, ~std::uint64_t{0}, MLRING_INVALID_ARGUMENT,
       "was said to have 18446744073709551615"},
      {"of_huge_pages", [] { return memory(kSealable | MFD_HUGETLB, kFixed, 2 * kBytes); }, 2 * kBytes,
       MLRING_UNSUPPORTED, "not of ordinary pages"},
      {"a_folder", file("/", O_RDONLY | O_DIRECTORY), kBytes, MLRING_INVALID_ARGUMENT, "no memfd"},
      {"a_device", file("/dev/zero", O_RDWR), kBytes, MLRING_INVALID_ARGUMENT, "no memfd"},
      {"a_file_on_disk", file("/proc/self/exe", O_RDONLY), kBytes, MLRING_INVALID_ARGUMENT, "no memfd"},
      {"a_socket", [] { return UniqueFd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)); }, kBytes,
       MLRING_INVALID_ARGUMENT, "no memfd"},
      {"an_epoll", [] { return UniqueFd(epoll_create1(EPOLL_CLOEXEC)); }, kBytes, MLRING_INVALID_ARGUMENT, "no memfd"},
      {"an_eventfd", [] { return UniqueFd(eventfd(0, EFD_CLOEXEC)); }, kBytes, MLRING_INVALID_ARGUMENT, "no memfd"},
      {"a_pipe",
       [] {
         int ends[2];
         EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
         close(ends[1]);
         return UniqueFd(ends[0]);
       },
       kBytes, MLRING_INVALID_ARGUMENT, "no memfd"},
  };
}

class WrongFile : public HostileMemory, public testing::WithParamInterface<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases, WrongFile, testing::ValuesIn(cases()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST_P(WrongFile, IsRefusedAndTheSessionGoesOn) {
  const Case& one = GetParam();
  RawSession session(daemon_->socket());
  const UniqueFd fd = one.make();
  ASSERT_TRUE(fd) << std::strerror(errno);
  protocol::AddArena message{};
  message.header.kind = static_cast<std::uint32_t>(Kind::add_arena);
  message.bytes = one.said_bytes;
  try {
    session.request(message, {}, {fd.get()});
    ADD_FAILURE() << "it was taken";
  } catch (const Refused& refused) {
    EXPECT_EQ(refused.status, one.status) << refused.what();
    EXPECT_NE(std::string(refused.what()).find(one.text), std::string::npos) << refused.what();
  }
  compute_something(session);
}

TEST_F(HostileMemory, PagesOfOthersCannotBeMadeWritable) {
  RawSession session(daemon_->socket());
  const auto queue = session.open_queue();
  const mlring_layout& layout = queue->layout();
  const std::pair<int, std::uint64_t> pages[] = {{1, layout.completion_bytes}, {2, layout.state_bytes}};
  for (const auto& [number, bytes] : pages) {
    SCOPED_TRACE(number == 1 ? "completion pages" : "state page");
    const UniqueFd again(open(("/proc/self/fd/" + std::to_string(queue->fd(number))).c_str(), O_RDWR | O_CLOEXEC));
    for (const int fd : {queue->fd(number), again.get()}) {
      if (fd < 0) continue;  // not even opening it is allowed
      EXPECT_EQ(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
      void* const readable_only = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
      ASSERT_NE(readable_only, MAP_FAILED);
      EXPECT_NE(mprotect(readable_only, bytes, PROT_READ | PROT_WRITE), 0);
      munmap(readable_only, bytes);
      EXPECT_EQ(pwrite(fd, "x", 1, 0), -1);
      EXPECT_NE(ftruncate(fd, 0), 0);
      EXPECT_NE(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
    }
  }
  EXPECT_NE(ftruncate(queue->fd(0), 0), 0) << "the client's own pages can't shrink under the worker";
  EXPECT_EQ(queue->nop().status(), MLRING_OK);
}

TEST_F(HostileMemory, HolesInAnArenaWhileItIsUsedHarmNobodyElse) {
  RawSession session(daemon_->socket());
  const auto queue = session.open_queue();
  const auto arena = session.add_arena(kBytes);
  const mlring_handle program = compile(*queue, *arena, add_one_graph());
  const mlring_argument in = arena->input(std::vector<float>(4096, 1)), out = arena->output(4096);
  const mlring_descriptor run = execute(*arena, program, {in, out});
  std::atomic<bool> stop{false};
  std::jthread puncher([&] {
    // The operands, not the argument table: an EXECUTE without one is a different test.
    const auto offset = static_cast<off_t>(in.offset & ~std::uint64_t{4095});
    while (!stop) fallocate(arena->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, 65536);
  });
  for (int i = 0; i < 500; ++i) {
    const RawQueue::Answer answer = queue->run(run);
    // The table may have become zeros too, where it shares a page: then this descriptor alone is refused.
    EXPECT_TRUE(answer.status() == MLRING_OK || answer.status() == MLRING_INVALID_ARGUMENT) << answer.message;
    if (i % 100 == 0) compute_something(*neighbour_);
  }
  stop = true;
}

// A TCP socket whose last close() waits for a peer that never reads, up to an hour: closed by mld's loop it would hold
// up everybody.
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

struct Delivery {
  const char* name;
  std::function<void(RawSession&, int fd)> send;
};
void PrintTo(const Delivery& one, std::ostream* out) { *out << one.name; }

template <class T>
void send_with(RawSession& session, T message, const std::vector<int>& fds) {
  message.header.request = 77;
  ASSERT_TRUE(transport::send_message(session.socket(), message, {}, fds)) << std::strerror(errno);
}

std::vector<Delivery> deliveries() {
  protocol::AddArena arena{};
  arena.header.kind = static_cast<std::uint32_t>(Kind::add_arena);
  arena.bytes = kBytes;
  protocol::Done wrong{};
  return {
      {"as_an_arena", [arena](RawSession& session, int fd) { send_with(session, arena, {fd}); }},
      {"with_a_message_that_breaks_the_rules",
       [wrong](RawSession& session, int fd) { send_with(session, wrong, {fd}); }},
      {"among_too_many",
       [wrong](RawSession& session, int fd) {
         std::vector<int> fds(protocol::kMaxFds - 1, STDERR_FILENO);
         fds.push_back(fd);
         send_with(session, wrong, fds);
       }},
      {"unread_when_the_client_goes",
       [arena](RawSession& session, int fd) {
         // mld reads a few of these a turn; the rest lies there when the client is gone.
         for (int i = 0; i < 20; ++i) send_with(session, arena, {STDERR_FILENO});
         send_with(session, arena, {fd});
         session.close();
       }},
  };
}

class SlowClose : public HostileMemory, public testing::WithParamInterface<Delivery> {};
INSTANTIATE_TEST_SUITE_P(Deliveries, SlowClose, testing::ValuesIn(deliveries()),
                         [](const auto& one) { return std::string(one.param.name); });

TEST_P(SlowClose, OfAFileHoldsUpNobody) {
  std::vector<UniqueFd> peers(3);
  for (UniqueFd& peer : peers) {
    RawSession session(daemon_->socket());
    UniqueFd file = lingering_socket(peer);
    daemon_->signal(SIGSTOP);  // or its close() might not be the last, but the test's
    GetParam().send(session, file.get());
    file.reset();
    daemon_->signal(SIGCONT);
    for (int i = 0; i < 3; ++i) {
      RawSession another(daemon_->socket());
      compute_something(another);
    }
  }
}

TEST_F(HostileMemory, AnEventfdThatBlocksHoldsUpNobody) {
  RawSession session(daemon_->socket());
  const auto queue = session.open_queue();
  // Wake and doorbell: full to the brim, and blocking for whoever writes.
  for (const int number : {3, 4}) {
    const int fd = queue->fd(number);
    ASSERT_EQ(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
    const std::uint64_t full = 0xfffffffffffffffe;
    ASSERT_EQ(write(fd, &full, sizeof full), static_cast<ssize_t>(sizeof full));
  }
  session.close();
  for (int i = 0; i < 3; ++i) {
    RawSession another(daemon_->socket());
    compute_something(another);
  }
}

}  // namespace
}  // namespace ml::test
