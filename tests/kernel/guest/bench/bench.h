// What the measurements have in common: figures as mlbench prints them, two processes on two CPUs, and their system
// calls and context switches, counted.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "support/client_queue.h"
#include "support/worker_queue.h"

enum Role { role_client, role_worker, roles };

// ---- figures

// Prints {bench, config, value, unit, peer, peer_value, ratio}; ratio is value / peer_value. peer NULL: there is none.
void print_figure(const char* bench, const char* config, double value, const char* unit, const char* peer,
                  double peer_value);
double median_of(uint64_t* samples, size_t count);
// Two of them: the medians, and the samples of which a tenth are faster, which a busy host disturbs less. Sorts both.
void print_times(const char* bench, const char* config, uint64_t* samples, size_t count, const char* peer,
                 uint64_t* peer_samples, size_t peer_count);
uint64_t voluntary_switches(void);  // of the calling process so far

// ---- system calls

// Counted are those between mark(role, true) and mark(role, false) of each process below `scenario`, which runs in a
// child. Outside of count_calls() a mark is nothing.
struct Calls {
  uint64_t of[roles];
};
void mark(enum Role role, bool begins);
bool counting(void);
void count_calls(void (*scenario)(void*), void* argument, struct Calls* calls);

// ---- two processes

// Client on CPU 0, worker on CPU 1, or the case is skipped.
void pin_role(enum Role role);
// Whether a process sleeps, as /proc says. `stat_fd` is of its stat file.
int open_stat(pid_t pid);
bool sleeps(int stat_fd);

// Two ends of one queue, in a memfd that no kernel looks into: the rings of the unix transport.
void plain_queue(struct ClientQueue* client, struct WorkerQueue* worker, uint32_t depth);

// ---- the cases

void a_doorbell_wakes_the_worker_in_read(void);
void a_doorbell_wakes_the_worker_in_epoll(void);
void both_sides_awake_make_no_system_call(void);
void a_buffers_life_takes_five_calls(void);
void a_round_trip_asleep_takes_four_calls(void);
