// Time, children, threads and descriptors that travel.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SECONDS(n) ((uint64_t)(n)*UINT64_C(1000000000))
#define MILLISECONDS(n) ((uint64_t)(n)*UINT64_C(1000000))

uint64_t now_ns(void);  // CLOCK_MONOTONIC
void pause_ns(uint64_t ns);

// Looks until `what` holds, for at most so many seconds; whether it came to hold. Not for what must never happen.
#define EVENTUALLY_WITHIN(what, seconds)                 \
  ({                                                     \
    const uint64_t until_ = now_ns() + SECONDS(seconds); \
    bool holds_ = (what);                                \
    while (!holds_ && now_ns() < until_) {               \
      pause_ns(MILLISECONDS(1));                         \
      holds_ = (what);                                   \
    }                                                    \
    holds_;                                              \
  })
#define EVENTUALLY(what) EVENTUALLY_WITHIN(what, 20)

// A child that runs the body and exits 0, or 1 where a REQUIRE fails; it dies with its parent. As that user, who is in
// no group of root's.
pid_t fork_child(void (*body)(void*), void* argument);
pid_t fork_as(uid_t uid, void (*body)(void*), void* argument);
// The exit code, or 128 and the signal. -ETIMEDOUT: it is still there.
int wait_child(pid_t pid, unsigned seconds);

pthread_t start_thread(void* (*body)(void*), void* argument);
void pin_to_cpu(int cpu);  // of the calling thread; no such cpu: nothing

void socket_pair(int sockets[2]);
int send_fd(int socket, int fd);  // 0 or -errno
int receive_fd(int socket);       // a new one, close-on-exec, or -errno
// One byte there, one byte back: how two processes take turns.
void tell(int socket, char what);
char hear(int socket);  // 0: the other end closed
