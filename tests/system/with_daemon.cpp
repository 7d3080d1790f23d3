// with_daemon [--kernel] PROGRAM [ARGUMENT...]: runs a program that finds a mld of its own in $MLACCEL, and answers its
// exit code. --kernel: through the kernel module.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "tests/system/support/daemon.h"

int main(int count, char** arguments) {
  if (count > 1 && std::strcmp(arguments[1], "--kernel") == 0) {
    setenv("ML_TEST_KERNEL", "1", 1);
    ++arguments;
    --count;
  }
  if (count < 2) {
    std::fputs("usage: with_daemon [--kernel] PROGRAM [ARGUMENT...]\n", stderr);
    return 2;
  }
  try {
    const ml::test::Daemon daemon;
    setenv("MLACCEL", daemon.transport().c_str(), 1);
    const pid_t child = fork();
    if (child == 0) {
      execvp(arguments[1], arguments + 1);
      std::perror(arguments[1]);
      _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return 1;
    if (status != 0) std::fputs(daemon.log().c_str(), stderr);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "with_daemon: %s\n", error.what());
    return 1;
  }
}
