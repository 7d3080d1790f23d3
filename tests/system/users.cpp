// Several users of one daemon: they work at once, see only what is theirs, and can't touch the rest.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/system/support/daemon.h"
#include "tests/system/support/mlctl.h"
#include "tests/system/support/raw_session.h"

namespace ml::test {
namespace {

constexpr uid_t kAnna = 12001, kBert = 12002, kAdministrator = 12003;
constexpr gid_t kGames = 60;  // of base-passwd on every Debian; kSystemToml makes it the admin group

User anna() { return {kAnna, kAnna}; }
User bert() { return {kBert, kBert}; }
User administrator() { return {kAdministrator, kAdministrator, {kGames}}; }

class Users : public testing::Test {
 protected:
  Daemon daemon{{.toml = std::string(kSystemToml), .system = true}};
};

TEST_F(Users, ComputeAtTheSameTime) {
  const auto compute = [&]() -> std::string {
    RawSession session(daemon.socket());
    const auto queue = session.open_queue();
    const auto arena = session.add_arena();
    const mlring_handle program = compile(*queue, *arena, add_one_graph());
    const mlring_argument in = arena->input({1, 2, 3}), out = arena->output(3);
    const mlring_descriptor run = execute(*arena, program, {in, out});
    for (int i = 0; i < 200; ++i) {
      if (const auto answer = queue->run(run); answer.status() != MLRING_OK) return answer.message;
    }
    return std::to_string(getuid());
  };
  Forked a(anna(), compute), b(bert(), compute);
  EXPECT_EQ(a.answer(), std::to_string(kAnna));
  EXPECT_EQ(b.answer(), std::to_string(kBert));
}

TEST_F(Users, RunTheirDeviceWorkInAProcessOfNobodyOfThem) {
  ASSERT_EQ(daemon.workers().size(), 1u);
  // Not the owner of its folder in /proc: a worker isn't dumpable, so that is root.
  const std::string status = read_file("/proc/" + std::to_string(daemon.workers()[0]) + "/status");
  const std::size_t at = status.find("Uid:\t");
  ASSERT_NE(at, std::string::npos);
  const unsigned long uid = std::stoul(status.substr(at + 5));
  EXPECT_NE(uid, 0u);
  EXPECT_NE(uid, kAnna);
}

// A session of Anna's, held open by a process of hers until this object goes.
class HeldSession {
 public:
  explicit HeldSession(const Daemon& daemon)
      : holder_(anna(), [path = daemon.socket(), out = pipe_[1]]() -> std::string {
          RawSession session(path, HelloOptions{.client = "annas program"});
          const auto queue = session.open_queue();
          const std::string id = std::to_string(session.welcome().session);
          if (write(out, id.data(), id.size()) < 0) return "pipe";
          if (!session.hung_up(10 * kPatience)) return "not hung up";
          return "hung up";
        }) {
    char text[32];
    if (!readable(pipe_[0])) throw std::runtime_error("Anna's session does not open");
    const ssize_t got = read(pipe_[0], text, sizeof text);
    id_.assign(text, got > 0 ? static_cast<std::size_t>(got) : 0);
  }
  ~HeldSession() {
    for (const int end : pipe_) close(end);
  }
  HeldSession(const HeldSession&) = delete;
  HeldSession& operator=(const HeldSession&) = delete;
  const std::string& id() const { return id_; }
  Forked& holder() { return holder_; }

 private:
  struct Pipe {
    Pipe() {
      if (pipe(ends) != 0) throw std::runtime_error("pipe");
    }
    int operator[](int i) const { return ends[i]; }
    const int* begin() const { return ends; }
    const int* end() const { return ends + 2; }
    int ends[2];
  };
  Pipe pipe_;
  Forked holder_;
  std::string id_;
};

TEST_F(Users, SeeTheirOwnSessionsOnly) {
  const HeldSession held(daemon);
  EXPECT_NE(mlctl_out(daemon, {"client", "ls", "-o", "json"}, anna()).find("annas program"), std::string::npos);
  EXPECT_EQ(mlctl_out(daemon, {"client", "ls", "-o", "json"}, bert()).find("annas program"), std::string::npos);
  EXPECT_NE(mlctl_out(daemon, {"client", "ls", "--all-users", "-o", "json"}, administrator()).find("annas program"),
            std::string::npos);
  EXPECT_TRUE(mlctl(daemon, {"client", "ls", "--all-users"}, bert()).ended.with(5));
}

TEST_F(Users, EndOnlyTheirOwnSessions) {
  HeldSession held(daemon);
  // Not even that it exists is told.
  const Finished denied = mlctl(daemon, {"client", "kick", held.id()}, bert());
  const Finished nothing = mlctl(daemon, {"client", "kick", "999999"}, bert());
  EXPECT_TRUE(denied.ended.with(4)) << denied.ended.describe() << denied.err;
  EXPECT_TRUE(nothing.ended.with(4)) << nothing.ended.describe() << nothing.err;
  EXPECT_TRUE(held.holder().process().running());
  EXPECT_TRUE(mlctl(daemon, {"client", "kick", held.id()}, administrator()).ended.with(0));
  EXPECT_EQ(held.holder().answer(), "hung up");
}

TEST_F(Users, WithoutTheGroupDrainNothing) {
  EXPECT_TRUE(mlctl(daemon, {"device", "drain", "cpu0"}, bert()).ended.with(5));
  EXPECT_TRUE(mlctl(daemon, {"device", "drain", "cpu0"}, administrator()).ended.with(0));
  EXPECT_TRUE(mlctl(daemon, {"device", "drain", "cpu0", "--undo"}, administrator()).ended.with(0));
}

TEST_F(Users, WithoutTheGroupHaveNoHighPriority) {
  const auto open_high = [&](User user) {
    return Forked(user,
                  [&]() -> std::string {
                    RawSession session(daemon.socket());
                    try {
                      session.open_queue(64, 1);
                      return "opened";
                    } catch (const Refused& refused) {
                      return std::to_string(refused.status);
                    }
                  })
        .answer();
  };
  EXPECT_EQ(open_high(bert()), std::to_string(MLRING_DENIED));
  EXPECT_EQ(open_high(administrator()), "opened");
}

}  // namespace
}  // namespace ml::test
