#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/bench.h"
#include "support/process.h"
#include "support/tap.h"

void print_figure(const char* bench, const char* config, double value, const char* unit, const char* peer,
                  double peer_value) {
  char line[512];
  int length = snprintf(line, sizeof line, "{\"bench\": \"%s\", \"config\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"",
                        bench, config, value, unit);
  if (peer != NULL)
    length += snprintf(line + length, sizeof line - (size_t)length,
                       ", \"peer\": \"%s\", \"peer_value\": %.6g, \"ratio\": %.6g", peer, peer_value,
                       peer_value == 0 ? (value == 0 ? 1.0 : 1e9) : value / peer_value);
  length += snprintf(line + length, sizeof line - (size_t)length, "}\n");
  CHECK_EQ(write(STDOUT_FILENO, line, (size_t)length), length);
}

static int by_value(const void* a, const void* b) {
  const uint64_t x = *(const uint64_t*)a, y = *(const uint64_t*)b;
  return x < y ? -1 : x > y;
}

double median_of(uint64_t* samples, size_t count) {
  qsort(samples, count, sizeof *samples, by_value);
  return (double)samples[count / 2];
}

void print_times(const char* bench, const char* config, uint64_t* samples, size_t count, const char* peer,
                 uint64_t* peer_samples, size_t peer_count) {
  char fast[128];
  print_figure(bench, config, median_of(samples, count), "ns", peer, median_of(peer_samples, peer_count));
  snprintf(fast, sizeof fast, "%s, fastest tenth", config);
  print_figure(bench, fast, (double)samples[count / 10], "ns", peer, (double)peer_samples[peer_count / 10]);
}

uint64_t voluntary_switches(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (uint64_t)usage.ru_nvcsw;
}

void pin_role(enum Role role) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(role == role_client ? 0 : 1, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) skip("two CPUs are needed");
}

int open_stat(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  return REQUIRE_FD(open(path, O_RDONLY | O_CLOEXEC));
}

bool sleeps(int stat_fd) {
  char text[512];
  const ssize_t length = pread(stat_fd, text, sizeof text - 1, 0);
  if (length <= 0) return false;
  text[length] = '\0';
  const char* end = strrchr(text, ')');
  return end != NULL && end[1] == ' ' && end[2] == 'S';
}

void plain_queue(struct ClientQueue* client, struct WorkerQueue* worker, uint32_t depth) {
  struct mlring_layout l;
  REQUIRE(mlring_compute_layout(&l, depth, (uint32_t)sysconf(_SC_PAGESIZE)));
  const int memory = REQUIRE_FD(memfd_create("rings", MFD_CLOEXEC));
  REQUIRE_OK(ftruncate(memory, (off_t)l.bytes));
  char* at = mmap(NULL, l.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  REQUIRE(at != MAP_FAILED);
  close(memory);
  struct mlring_submission_header* s = (struct mlring_submission_header*)(at + l.submission_offset);
  struct mlring_completion_header* c = (struct mlring_completion_header*)(at + l.completion_offset);
  struct mlring_state* state = (struct mlring_state*)(at + l.state_offset);
  s->tail = s->completion_head = c->completion_tail = c->submission_head = MLRING_START;
  c->completed_sequence = MLRING_START;
  state->state = MLRING_STATE_ACTIVE;
  state->notify_at = MLRING_NEVER;
  *client = (struct ClientQueue){.drm = -1,
                                 .fd = -1,
                                 .wake_fd = -1,
                                 .layout = l,
                                 .submission = s,
                                 .completion = c,
                                 .state = state,
                                 .next = MLRING_START,
                                 .read = MLRING_START};
  *worker = (struct WorkerQueue){.worker = -1,
                                 .layout = l,
                                 .submission = s,
                                 .completion = c,
                                 .state = state,
                                 .taken = MLRING_START,
                                 .completed = MLRING_START};
}
