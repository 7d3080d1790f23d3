// Sessions whose device has a node in the kernel module: who is told of it, and what is passed on to the worker.
#include <fcntl.h>
#include <sys/stat.h>

#include "daemon/sessions/queue_pages.h"
#include "tests/unit/daemon_sessions/mld_in_a_box.h"

namespace ml::daemon {
namespace {

using protocol::Kind;
using transport::UniqueFd;

class KernelSessions : public MldInABox {
 protected:
  KernelSessions() { devices->all()[0].node = KernelNode{.device = 1, .minor = 5, .is_accel = true}; }

  protocol::Welcome greet(Client& client, std::uint64_t features, std::uint32_t version = protocol::kVersion) {
    protocol::Hello hello{};
    hello.magic = protocol::kMagic;
    hello.oldest_version = protocol::kOldestVersion;
    hello.newest_version = version;
    hello.features = features;
    client.send(hello, Kind::hello, 1);
    done(take(wire::Kind::open_session));
    return expect<protocol::Welcome>(client, Kind::welcome, 1);
  }
  Client open_kernel_session() {
    Client client = connect();
    EXPECT_EQ(greet(client, protocol::kFeatureKernel).features, protocol::kFeatureKernel);
    return client;
  }
  // Something that the worker alone looks at.
  UniqueFd some_file() const { return UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)); }
};

TEST_F(KernelSessions, TellTheNodeToThoseWhoAsk) {
  Client client = connect();
  const auto welcome = greet(client, protocol::kFeatureKernel | 1024);
  EXPECT_EQ(welcome.features, protocol::kFeatureKernel) << "what mld doesn't know it doesn't grant";
  EXPECT_EQ(welcome.minor, 5u);
  EXPECT_EQ(welcome.version, protocol::kVersion);
}

TEST_F(KernelSessions, AreAsBeforeForTheOthers) {
  Client silent = connect();
  const auto unasked = greet(silent, 0);
  EXPECT_EQ(unasked.features, 0u);
  EXPECT_EQ(unasked.minor, 0u);
  Client old = connect();
  const auto older = greet(old, protocol::kFeatureKernel, 1);
  EXPECT_EQ(older.version, 1u);
  EXPECT_EQ(older.features, 0u);
  devices->all()[0].node.reset();
  Client late = connect();
  EXPECT_EQ(greet(late, protocol::kFeatureKernel).features, 0u);
}

TEST_F(KernelSessions, PassAQueueOn) {
  Client client = open_kernel_session();
  const UniqueFd file = some_file();
  client.send(protocol::OpenKernelQueue{.depth = 64}, Kind::open_kernel_queue, 2, {file.get()});
  const auto request = take(wire::Kind::open_kernel_queue);
  const auto& asked = request.as<wire::OpenKernelQueue>();
  EXPECT_EQ(asked.depth, 64u);
  ASSERT_EQ(request.fds.size(), 1u);
  struct stat sent {
  }, came{};
  ASSERT_EQ(fstat(file.get(), &sent), 0);
  ASSERT_EQ(fstat(request.fds[0].get(), &came), 0);
  EXPECT_EQ(sent.st_rdev, came.st_rdev);
  EXPECT_EQ(used(Resource::queues), 1u);
  EXPECT_EQ(used(Resource::arena_bytes), QueuePages::bytes(64));
  answer(request, wire::QueueOpened{.handle = {3, 4}, .kernel_client = 77});
  const auto opened = expect<protocol::QueueOpened>(client, Kind::queue, 2);
  EXPECT_TRUE(last_.fds.empty());
  EXPECT_EQ(opened.depth, 64u);
  EXPECT_EQ(opened.handle.index, 3u);
  EXPECT_EQ(sessions->list()[0].kernel_client, 77u);

  client.send(protocol::CloseQueue{.queue = opened.queue}, Kind::close_queue, 3);
  done(take(wire::Kind::close_queue));
  expect<protocol::Done>(client, Kind::done, 3);
  EXPECT_EQ(used(Resource::queues), 0u);
  EXPECT_EQ(used(Resource::arena_bytes), 0u);
}

TEST_F(KernelSessions, KeepAClientsFileOpenUntilTheWorkerHasAnswered) {
  Client client = open_kernel_session();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  client.send(protocol::OpenKernelQueue{.depth = 64}, Kind::open_kernel_queue, 2, {writing.get()});
  writing.reset();
  auto request = take(wire::Kind::open_kernel_queue);
  request.fds.clear();  // the worker has closed its own
  char nothing = 0;
  EXPECT_EQ(read(reading.get(), &nothing, 1), -1) << "somebody still has the other end";
  refuse(request, Error(Code::invalid_argument, "the file is no queue"));
  EXPECT_NE(refusal(client, 2, Code::invalid_argument).find("no queue"), std::string::npos);
  request.answer = nullptr;
  EXPECT_TRUE(until([&] { return read(reading.get(), &nothing, 1) == 0; })) << "it is closed then";
  EXPECT_EQ(used(Resource::queues), 0u);
  EXPECT_EQ(used(Resource::arena_bytes), 0u);
}

TEST_F(KernelSessions, PassMemoryOn) {
  Client client = open_kernel_session();
  const UniqueFd file = some_file();
  client.send(protocol::AddArena{.bytes = 8192}, Kind::add_kernel_arena, 2, {file.get()});
  const auto request = take(wire::Kind::add_kernel_arena);
  EXPECT_EQ(request.as<wire::AddArena>().bytes, 8192u);
  EXPECT_EQ(used(Resource::arena_bytes), 8192u);
  answer(request, wire::ArenaAdded{.arena = 9});
  EXPECT_EQ(expect<protocol::ArenaAdded>(client, Kind::arena, 2).arena, 9u);
  client.send(protocol::RemoveArena{.arena = 9}, Kind::remove_arena, 3);
  done(take(wire::Kind::remove_arena));
  expect<protocol::Done>(client, Kind::done, 3);
  EXPECT_EQ(used(Resource::arena_bytes), 0u);
}

TEST_F(KernelSessions, KeepTheSameLimits) {
  config.limits.queues = 0;
  config.limits.arena_bytes = 4096;
  Client client = open_kernel_session();
  const UniqueFd file = some_file();
  client.send(protocol::OpenKernelQueue{.depth = 64}, Kind::open_kernel_queue, 2, {file.get()});
  EXPECT_NE(refusal(client, 2, Code::no_space).find("limits.queues"), std::string::npos);
  client.send(protocol::AddArena{.bytes = 4097}, Kind::add_kernel_arena, 3, {file.get()});
  EXPECT_NE(refusal(client, 3, Code::no_space).find("limits.arena_bytes"), std::string::npos);
  client.send(protocol::OpenKernelQueue{.depth = 63}, Kind::open_kernel_queue, 4, {file.get()});
  refusal(client, 4, Code::invalid_argument);
}

TEST_F(KernelSessions, EndWhenTheModuleWasNotAgreedUpon) {
  Client client = connect();
  greet(client, 0);
  const UniqueFd file = some_file();
  client.send(protocol::AddArena{.bytes = 4096}, Kind::add_kernel_arena, 2, {file.get()});
  EXPECT_NE(refusal(client, 0, Code::corrupt).find("was not agreed upon"), std::string::npos);
  done(take(wire::Kind::close_session));
}

TEST_F(KernelSessions, AreToldThatTheirWorkHung) {
  Client client = open_kernel_session();
  const std::uint64_t session = sessions->list()[0].id;
  sessions->session_ended({.session = session, .fault = 0, .status = MLRING_TIMEOUT}, "its work ran for too long");
  EXPECT_NE(refusal(client, 0, Code::timeout).find("ran for too long"), std::string::npos);
  done(take(wire::Kind::close_session));
}

}  // namespace
}  // namespace ml::daemon
