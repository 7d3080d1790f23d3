// gRPC over a socket that we accept ourselves: who calls, how many may, and the end of it.
#include "daemon/admin/connections.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "daemon/admin/admin.grpc.pb.h"
#include "daemon/admin/call.h"
#include "tests/support/temp_directory.h"

namespace ml::daemon {
namespace {

namespace api = mlaccel::admin::v1;
using transport::UniqueFd;

UniqueFd unix_socket(const std::string& path, bool listening) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (listening) {
    EXPECT_EQ(bind(socket.get(), generic, sizeof address), 0);
    EXPECT_EQ(listen(socket.get(), 128), 0);
    EXPECT_EQ(chmod(path.c_str(), 0666), 0);
  } else if (connect(socket.get(), generic, sizeof address) != 0) {
    socket.reset();
  }
  return socket;
}

// Answers every call with who it is served as; ReadJobLog is answered when a test says so.
class WhoService final : public api::Admin::CallbackService {
 public:
  WhoService(const Peer& caller, bool crowded, Calls& calls, std::function<void(std::function<void()>)> hold)
      : caller_(caller), crowded_(crowded), calls_(calls), hold_(std::move(hold)) {}

  grpc::ServerUnaryReactor* ShowLimits(grpc::CallbackServerContext* context, const api::ShowLimitsRequest* request,
                                       api::ShowLimitsReply* reply) override {
    return calls_.begin<api::ShowLimitsRequest, api::ShowLimitsReply>(
        context, request, reply, [this](const auto& call) {
          if (crowded_) return call->fail({codes::kAdminConnections, Error(Code::no_space, "crowded")});
          call->reply.set_uid(caller_.uid);
          call->reply.set_owner(caller_.admin ? "admin" : "user");
          call->succeed();
        });
  }
  grpc::ServerUnaryReactor* WhyJob(grpc::CallbackServerContext* context, const api::JobRequest* request,
                                   api::WhyJobReply* reply) override {
    return calls_.begin<api::JobRequest, api::WhyJobReply>(context, request, reply, [this](const auto& call) {
      hold_([call] {
        call->reply.set_why("late");
        call->succeed();
      });
    });
  }

 private:
  const Peer caller_;
  const bool crowded_;
  Calls& calls_;
  const std::function<void(std::function<void()>)> hold_;
};

class ConnectionsTest : public testing::Test {
 protected:
  void start(ConnectionLimits limits = {}) {
    connections = std::make_unique<Connections>(limits, "no-such-group", [this](const Peer& caller, bool crowded) {
      ++services;
      return std::make_unique<WhoService>(caller, crowded, calls, [this](std::function<void()> answer) {
        const std::lock_guard lock(mutex);
        held.push_back(std::move(answer));
        changed.notify_all();
      });
    });
    std::vector<UniqueFd> sockets;
    sockets.push_back(unix_socket(path, true));
    connections->listen(std::move(sockets));
    thread = std::thread([this] { loop->run(); });
  }
  // As AdminServer does it, on the loop's thread.
  void stop() {
    if (!thread.joinable()) return;
    loop->post([this] {
      calls.stop();
      connections->stop();
      loop->stop();
    });
    thread.join();
  }
  ~ConnectionsTest() override { stop(); }

  struct Client {
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<api::Admin::Stub> stub;
  };
  Client client() const {
    UniqueFd socket = unix_socket(path, false);
    if (!socket) return {};
    fcntl(socket.get(), F_SETFL, O_NONBLOCK);
    Client made;
    made.channel = grpc::CreateInsecureChannelFromFd("admin", socket.release());
    made.stub = api::Admin::NewStub(made.channel);
    return made;
  }
  static grpc::Status ask(const Client& client, api::ShowLimitsReply& reply) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return client.stub->ShowLimits(&context, {}, &reply);
  }
  void wait_for_held(std::size_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return held.size() >= count; });
  }

  ml::test::TempDirectory folder;
  const std::string path = folder / "admin.sock";
  std::unique_ptr<Loop> loop = Loop::create(Loop::Kind::epoll, nullptr);
  Calls calls{*loop};
  std::atomic<int> services = 0;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::function<void()>> held;
  std::unique_ptr<Connections> connections;
  std::thread thread;
};

TEST_F(ConnectionsTest, ACallIsServedAsWhoeverConnected) {
  chmod(folder.path().c_str(), 0755);
  start();
  const Client one = client();
  api::ShowLimitsReply reply;
  const grpc::Status status = ask(one, reply);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(reply.uid(), geteuid());
  EXPECT_EQ(reply.owner(), "admin");
}

// Credentials are those of the thread that connects, so threads can be different users in one process. Whoever may be
// nobody else takes part as the only user; then only the threads are put to the test.
TEST_F(ConnectionsTest, ConcurrentCallsOfManyUsersAreNeverMixedUp) {
  const uid_t self = geteuid();
  chmod(folder.path().c_str(), 0755);
  start({.per_uid = 64, .total = 4096, .servers = 6});  // fewer servers than users: they end and start all the time
  constexpr int kThreads = 8, kRounds = 150;
  const std::uint64_t seed = std::random_device{}();
  std::atomic<int> wrong = 0, answered = 0;
  std::vector<std::thread> users;
  for (int t = 0; t < kThreads; ++t) {
    users.emplace_back([&, t] {
      std::mt19937_64 random(seed + static_cast<std::uint64_t>(t));
      for (int round = 0; round < kRounds; ++round) {
        const auto uid = self != 0 || random() % 10 == 0 ? self : static_cast<uid_t>(70001 + random() % 10);
        UniqueFd socket;
        {
          // The raw call changes this thread alone.
          syscall(SYS_setresuid, -1, uid, -1);
          socket = unix_socket(path, false);
          syscall(SYS_setresuid, -1, self, -1);
        }
        if (!socket) continue;
        fcntl(socket.get(), F_SETFL, O_NONBLOCK);
        const auto channel = grpc::CreateInsecureChannelFromFd("admin", socket.release());
        const auto stub = api::Admin::NewStub(channel);
        for (int call = 0; call < 3; ++call) {
          grpc::ClientContext context;
          api::ShowLimitsReply reply;
          if (!stub->ShowLimits(&context, {}, &reply).ok()) break;  // its server was ended
          ++answered;
          if (reply.uid() != uid || reply.owner() != (uid == self ? "admin" : "user")) ++wrong;
        }
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(wrong, 0) << "seed " << seed;
  EXPECT_GT(answered, kThreads * kRounds) << "seed " << seed;
  EXPECT_GT(services, self == 0 ? 20 : 0) << "servers were meant to be ended";
}

TEST_F(ConnectionsTest, BeyondTheLimitCallsAreRefusedAndBeyondTwiceConnectionsAreClosed) {
  start({.per_uid = 2, .total = 100, .servers = 8});
  api::ShowLimitsReply reply;
  std::vector<Client> clients;
  for (int i = 0; i < 2; ++i) {
    clients.push_back(client());
    EXPECT_TRUE(ask(clients.back(), reply).ok());
  }
  for (int i = 0; i < 2; ++i) {
    clients.push_back(client());
    const grpc::Status status = ask(clients.back(), reply);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(status.error_message(),
              "MLE-0114\x1f"
              "crowded\x1f\x1f");
  }
  clients.push_back(client());
  EXPECT_EQ(ask(clients.back(), reply).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(ask(clients.front(), reply).ok()) << "the first ones are served on";

  // Those that go make room again, as soon as the hang-up is seen.
  clients.clear();
  for (;;) {
    const Client again = client();
    if (ask(again, reply).ok()) break;
  }
}

TEST_F(ConnectionsTest, StoppingAnswersWhatIsUnderWay) {
  start();
  const Client one = client();
  grpc::Status status;
  std::thread waiting([&] {
    grpc::ClientContext context;
    api::WhyJobReply reply;
    status = one.stub->WhyJob(&context, {}, &reply);
  });
  wait_for_held(1);
  stop();
  waiting.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(status.error_message().starts_with("MLE-0207\x1f")) << status.error_message();
  held.front()();  // an answer that comes too late does nothing
  api::ShowLimitsReply reply;
  EXPECT_EQ(ask(one, reply).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(client().stub) << "nobody listens any more";
}

TEST_F(ConnectionsTest, ADeadlineEndsACallThatIsNotAnswered) {
  start();
  const Client one = client();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  api::WhyJobReply reply;
  EXPECT_EQ(one.stub->WhyJob(&context, {}, &reply).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  api::ShowLimitsReply limits;
  EXPECT_TRUE(ask(one, limits).ok()) << "the connection is as good as before";
}

TEST_F(ConnectionsTest, AMessageThatIsTooLargeIsRefused) {
  start();
  const Client one = client();
  grpc::ClientContext context;
  api::SubmitJobRequest request;
  request.set_specification(std::string(1 << 20, 'x'));
  api::Job reply;
  EXPECT_EQ(one.stub->SubmitJob(&context, request, &reply).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  api::ShowLimitsReply limits;
  EXPECT_TRUE(ask(one, limits).ok());
}

TEST_F(ConnectionsTest, BytesThatAreNoHttp2EndOnlyTheirConnection) {
  start();
  const Client good = client();
  api::ShowLimitsReply reply;
  ASSERT_TRUE(ask(good, reply).ok());
  for (const std::string& bytes : {std::string("GET / HTTP/1.0\r\n\r\n"), std::string(100'000, '\xff'),
                                   std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string(9, '\xff')}) {
    const UniqueFd socket = unix_socket(path, false);
    ASSERT_TRUE(socket);
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t wrote = send(socket.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (wrote <= 0) break;
      sent += static_cast<std::size_t>(wrote);
    }
    shutdown(socket.get(), SHUT_WR);
    char buffer[4096];
    while (read(socket.get(), buffer, sizeof buffer) > 0) {
    }
  }
  EXPECT_TRUE(ask(good, reply).ok());
}

}  // namespace
}  // namespace ml::daemon
