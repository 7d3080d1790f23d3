#include "tools/mlbench/contestant.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>

#include "ml/error.h"

namespace ml::bench {
namespace {

struct Result {
  double value = 0;
  char problem[512] = "";  // empty: none
};

Result failed(const std::exception& error) {
  Result result;
  std::string_view(error.what()).copy(result.problem, sizeof result.problem - 1);
  return result;
}

void serve(int socket, const std::function<std::function<double(const Contestant::Task&)>()>& make) {
  std::function<double(const Contestant::Task&)> body;
  Contestant::Task task;
  while (recv(socket, &task, sizeof task, 0) == static_cast<ssize_t>(sizeof task)) {
    Result result;
    try {
      if (!body) body = make();
      result.value = body(task);
    } catch (const std::exception& error) {
      result = failed(error);
    }
    if (send(socket, &result, sizeof result, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof result)) break;
  }
}

}  // namespace

Contestant::Contestant(const std::function<std::function<double(const Task&)>()>& make) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0 || (process_ = fork()) < 0)
    throw Error(Code::io, std::string("cannot start a process: ") + std::strerror(errno));
  socket_ = ends[0];
  if (process_ > 0) {
    close(ends[1]);
    return;
  }
  close(ends[0]);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  serve(ends[1], make);
  _exit(0);
}

Contestant::~Contestant() {
  close(socket_);
  waitpid(process_, nullptr, 0);
}

double Contestant::perform(const Task& task) {
  Result result;
  if (send(socket_, &task, sizeof task, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof task) ||
      recv(socket_, &result, sizeof result, 0) != static_cast<ssize_t>(sizeof result))
    throw Error(Code::io, "a process of mlbench ended");
  if (result.problem[0] != '\0') throw Error(Code::io, result.problem);
  return result.value;
}

}  // namespace ml::bench
