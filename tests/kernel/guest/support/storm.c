#include "support/storm.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/tap.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static _Thread_local volatile uint64_t count;

static void on_signal(int number) {
  (void)number;
  count++;
}

void storm_start(struct Storm* s, uint64_t interval_ns, bool restart) {
  // SIGALRM is the case's own clock.
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0};
  REQUIRE_OK(sigaction(SIGUSR1, &action, NULL));
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR1;
  event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  REQUIRE_OK(timer_create(CLOCK_MONOTONIC, &event, &s->timer));
  const struct timespec interval = {.tv_sec = (time_t)(interval_ns / 1000000000),
                                    .tv_nsec = (long)(interval_ns % 1000000000)};
  const struct itimerspec setting = {.it_interval = interval, .it_value = interval};
  count = 0;
  REQUIRE_OK(timer_settime(s->timer, 0, &setting, NULL));
}

uint64_t storm_stop(struct Storm* s) {
  CHECK_OK(timer_delete(s->timer));
  return count;
}
