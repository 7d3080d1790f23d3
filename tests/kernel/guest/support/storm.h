// A storm of signals on the calling thread, whose handler does nothing: what sleeps or is about to is interrupted.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct Storm {
  timer_t timer;
};

// Every so many nanoseconds; with `restart` calls that can be are repeated by the kernel (SA_RESTART).
void storm_start(struct Storm* s, uint64_t interval_ns, bool restart);
// How many signals there were.
uint64_t storm_stop(struct Storm* s);

// A call, repeated for as long as it is interrupted; how often is added to *interrupted.
#define UNINTERRUPTED(call_, interrupted)                          \
  ({                                                               \
    int result_ = (call_);                                         \
    for (; result_ == -EINTR; result_ = (call_)) ++*(interrupted); \
    result_;                                                       \
  })
