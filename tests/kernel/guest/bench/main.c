// What the kernel's part costs, against peers in the same guest. Times are informative under emulation; the counts of
// system calls are exact, and what the cases check.
#include "bench/bench.h"
#include "support/tap.h"

static const struct Case cases[] = {
    {"a_doorbell_wakes_the_worker_in_read", a_doorbell_wakes_the_worker_in_read, 0},
    {"a_doorbell_wakes_the_worker_in_epoll", a_doorbell_wakes_the_worker_in_epoll, 0},
    {"both_sides_awake_make_no_system_call", both_sides_awake_make_no_system_call, 0},
    {"a_buffers_life_takes_five_calls", a_buffers_life_takes_five_calls, 0},
    {"a_round_trip_asleep_takes_four_calls", a_round_trip_asleep_takes_four_calls, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
