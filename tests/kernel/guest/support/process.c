#include "support/process.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/tap.h"

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

void pause_ns(uint64_t ns) {
  const struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
  nanosleep(&t, NULL);
}

static pid_t fork_with(bool change, uid_t uid, void (*body)(void*), void* argument) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  REQUIRE_AS(pid, >=, 0);
  if (pid != 0) return pid;
  if (change) {
    REQUIRE_OK(setgroups(0, NULL));
    REQUIRE_OK(setresgid(uid, uid, uid));
    REQUIRE_OK(setresuid(uid, uid, uid));
  }
  // Behind the change of user, which clears it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  body(argument);
  _exit(0);
}

pid_t fork_child(void (*body)(void*), void* argument) { return fork_with(false, 0, body, argument); }

pid_t fork_as(uid_t uid, void (*body)(void*), void* argument) { return fork_with(true, uid, body, argument); }

int wait_child(pid_t pid, unsigned seconds) {
  const int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  struct pollfd wait = {.fd = pidfd, .events = POLLIN};
  const int ready = poll(&wait, 1, (int)seconds * 1000);
  close(pidfd);
  if (ready <= 0) return -ETIMEDOUT;
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return -errno;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

pthread_t start_thread(void* (*body)(void*), void* argument) {
  pthread_t thread;
  REQUIRE_OK(-pthread_create(&thread, NULL, body, argument));
  return thread;
}

void pin_to_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

void socket_pair(int sockets[2]) { REQUIRE_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets)); }

union Control {
  struct cmsghdr head;
  char bytes[CMSG_SPACE(sizeof(int))];
};

int send_fd(int socket, int fd) {
  char byte = 'f';
  union Control control;
  memset(&control, 0, sizeof control);
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  control.head.cmsg_len = CMSG_LEN(sizeof fd);
  control.head.cmsg_level = SOL_SOCKET;
  control.head.cmsg_type = SCM_RIGHTS;
  memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
  return sendmsg(socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int receive_fd(int socket) {
  char byte = 0;
  int fd = -1;
  union Control control;
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {
      .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  const ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (got < 0) return -errno;
  const struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  if (got == 0 || head == NULL || head->cmsg_type != SCM_RIGHTS) return -EPIPE;
  memcpy(&fd, CMSG_DATA(head), sizeof fd);
  return fd;
}

void tell(int socket, char what) { REQUIRE_EQ(send(socket, &what, 1, MSG_NOSIGNAL), 1); }

char hear(int socket) {
  char what = 0;
  ssize_t got = 0;
  do got = read(socket, &what, 1);
  while (got < 0 && errno == EINTR);
  return got == 1 ? what : 0;
}
