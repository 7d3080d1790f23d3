// How mld meets its surroundings: sockets, the lock on its state, its supervisor.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "daemon/service/listening_socket.h"
#include "daemon/service/supervisor.h"
#include "ml/error.h"

namespace ml::daemon {
namespace {

using transport::UniqueFd;

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "mld-service-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ / "run" / "mld.sock";
  }
  ~ServiceTest() override {
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }
  static mode_t mode(const std::filesystem::path& path) {
    struct stat status {};
    return lstat(path.c_str(), &status) == 0 ? status.st_mode & 0777 : 0;
  }
  static bool answers(const std::string& path, int type) {
    const UniqueFd probe(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  std::string refusal(const std::string& path) {
    try {
      ListeningSocket(path, SOCK_SEQPACKET, 0600);
    } catch (const Error& error) {
      return error.message();
    }
    return "none";
  }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(ServiceTest, a_private_socket_lies_in_a_private_folder) {
  const ListeningSocket listening(path_, SOCK_SEQPACKET, 0600);
  EXPECT_EQ(mode(path_), 0600u);
  EXPECT_EQ(mode(folder_ / "run"), 0700u);
  EXPECT_TRUE(answers(path_, SOCK_SEQPACKET));
  EXPECT_FALSE(answers(path_, SOCK_STREAM));
}

TEST_F(ServiceTest, everybodys_socket_can_be_reached_whatever_the_umask) {
  const mode_t before = umask(0077);
  const ListeningSocket listening(path_, SOCK_STREAM, 0666);
  umask(before);
  EXPECT_EQ(mode(path_), 0666u);
  EXPECT_EQ(mode(folder_ / "run"), 0755u);
}

TEST_F(ServiceTest, takes_its_file_away_unless_it_is_anothers_by_then) {
  { const ListeningSocket listening(path_, SOCK_SEQPACKET, 0600); }
  EXPECT_FALSE(std::filesystem::exists(path_));
  {
    const ListeningSocket listening(path_, SOCK_SEQPACKET, 0600);
    std::filesystem::remove(path_);
    std::ofstream(path_) << "another's";
  }
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(ServiceTest, where_somebody_listens_or_something_else_lies_it_refuses) {
  {
    const ListeningSocket first(path_, SOCK_SEQPACKET, 0600);
    EXPECT_EQ(refusal(path_), "another mld listens there");
    EXPECT_TRUE(answers(path_, SOCK_SEQPACKET)) << "the first one goes on";
  }
  std::ofstream(path_) << "a file";
  EXPECT_EQ(refusal(path_), "something that is no socket lies there");
  EXPECT_TRUE(refusal(folder_ / "no" / "such" / "folder" / "s").starts_with("can't make the socket's folder"));
}

TEST_F(ServiceTest, a_dead_daemons_socket_is_replaced) {
  const pid_t dead = fork();
  if (dead == 0) {
    new ListeningSocket(path_, SOCK_SEQPACKET, 0600);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(dead, &status, 0), dead);
  ASSERT_TRUE(std::filesystem::exists(path_));
  EXPECT_FALSE(answers(path_, SOCK_SEQPACKET));
  const ListeningSocket next(path_, SOCK_SEQPACKET, 0600);
  EXPECT_TRUE(answers(path_, SOCK_SEQPACKET));
}

TEST_F(ServiceTest, sockets_that_systemd_made_are_told_by_their_type) {
  const pid_t child = fork();
  if (child == 0) {
    ListeningSocket clients(folder_ / "c", SOCK_SEQPACKET, 0600), admins(folder_ / "a", SOCK_STREAM, 0600);
    // To 3, 4 and 5, where systemd puts them; 5 is a socket that does not listen.
    const int made[] = {fcntl(clients.fd.get(), F_DUPFD, 100), fcntl(admins.fd.get(), F_DUPFD, 100),
                        socket(AF_UNIX, SOCK_SEQPACKET, 0)};
    for (int i = 0; i < 3; ++i) dup2(made[i], 3 + i);
    setenv("LISTEN_FDS", "3", 1);
    setenv("LISTEN_PID", "1", 1);
    bool right = activated_sockets(SOCK_SEQPACKET).empty();  // meant for another process
    setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
    auto for_clients = activated_sockets(SOCK_SEQPACKET), for_admins = activated_sockets(SOCK_STREAM);
    right = right && for_clients.size() == 1 && for_clients[0].get() == 3 && for_admins.size() == 1 &&
            for_admins[0].get() == 4 && (fcntl(3, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(3, F_GETFL) & O_NONBLOCK) != 0;
    _exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(ServiceTest, a_state_directory_has_one_daemon) {
  const std::string state = folder_ / "a" / "state";
  UniqueFd lock = lock_state_directory(state);
  try {
    lock_state_directory(state);
    ADD_FAILURE() << "two daemons have it";
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "another mld (pid " + std::to_string(getpid()) + ") uses this state directory");
    EXPECT_EQ(error.context(), state);
  }
  lock.reset();
  lock = lock_state_directory(state);
  EXPECT_THROW(lock_state_directory("/proc/nowhere"), Error);
}

TEST_F(ServiceTest, the_supervisor_is_told_where_it_listens) {
  for (const bool abstract : {false, true}) {
    const UniqueFd listening(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const std::string name = folder_ / "notify";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path + (abstract ? 1 : 0), sizeof address.sun_path - 2);
    const auto bytes =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + 1);  // the zero before or behind it
    ASSERT_EQ(bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), bytes), 0);
    setenv("NOTIFY_SOCKET", ((abstract ? "@" : "") + name).c_str(), 1);
    notify_supervisor("READY=1");
    char text[32] = {};
    EXPECT_EQ(recv(listening.get(), text, sizeof text, 0), 7);
    EXPECT_STREQ(text, "READY=1");
  }
  unsetenv("NOTIFY_SOCKET");
  notify_supervisor("READY=1");  // nobody wants to know
}

}  // namespace
}  // namespace ml::daemon
