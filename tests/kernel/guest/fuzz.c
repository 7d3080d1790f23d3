// Random calls that know the UAPI, from several threads, on several devices and files; at the end all must be back.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/module.h"
#include "support/process.h"
#include "support/storm.h"
#include "support/tap.h"

enum { threads = 4 };

struct Table {
  const struct Operation* operations[most_operations];
  unsigned count;
  unsigned weights;
};

static struct Table table;

static void add(const struct Operation* operations, size_t count) {
  for (size_t i = 0; i < count; i++) {
    REQUIRE_AS(table.count, <, most_operations);
    table.operations[table.count++] = &operations[i];
    table.weights += operations[i].weight;
  }
}

static unsigned pick_operation(struct Fuzzer* f) {
  uint64_t at = below(f, table.weights);
  unsigned i = 0;
  while (at >= table.operations[i]->weight) at -= table.operations[i++]->weight;
  return i;
}

static void* make_calls(void* argument) {
  struct Fuzzer* f = argument;
  struct Storm storm;
  // What sleeps without end is woken.
  storm_start(&storm, MILLISECONDS(20), false);
  while (__atomic_fetch_sub(&f->shared->left, 1, __ATOMIC_RELAXED) > 0) {
    const unsigned i = pick_operation(f);
    f->slot = (unsigned)below(f, slots);
    if (chance(f, 25)) repair(f);
    const int result = table.operations[i]->run(f);
    const unsigned error = (unsigned)-result;
    __atomic_add_fetch(&f->shared->totals[i][error < errors ? error : errors - 1], 1, __ATOMIC_RELAXED);
  }
  storm_stop(&storm);
  for (size_t i = 0; i < sizeof f->mappings / sizeof f->mappings[0]; i++)
    if (f->mappings[i].at != NULL) munmap(f->mappings[i].at, f->mappings[i].bytes);
  return NULL;
}

static void print_totals(const struct Shared* s) {
  uint64_t all = 0, succeeded = 0;
  for (unsigned i = 0; i < table.count; i++) {
    char line[512];
    int length = 0;
    uint64_t calls = 0;
    for (unsigned error = 0; error < errors; error++) {
      const uint64_t count = s->totals[i][error];
      calls += count;
      if (count == 0 || length > 400) continue;
      const char* name = error == 0 ? "0" : strerrorname_np((int)error);
      length +=
          snprintf(line + length, sizeof line - (size_t)length, " %s %ju", name == NULL ? "?" : name, (uintmax_t)count);
    }
    if (calls != 0) note("%s: %ju:%s", table.operations[i]->name, (uintmax_t)calls, line);
    all += calls;
    succeeded += s->totals[i][0];
    // A call that never succeeds tests little.
    if (calls >= 3000) CHECK_AS(s->totals[i][0], >, 0);
  }
  note("all: %ju calls, %ju succeeded", (uintmax_t)all, (uintmax_t)succeeded);
  CHECK_AS(succeeded, >=, all / 5);
}

// What no call may answer, and numbers that are no errors for user space.
static void check_no_strange_errors(const struct Shared* s) {
  static const int strange[] = {EIO, EDEADLK, errors - 1};
  for (unsigned i = 0; i < table.count; i++)
    for (size_t j = 0; j < sizeof strange / sizeof strange[0]; j++)
      if (!CHECK_EQ(s->totals[i][strange[j]], 0)) note("%s: error %d", table.operations[i]->name, strange[j]);
}

static void prepare(struct Shared* s) {
  struct mlaccel_features features = {.abi = 0};
  memset(s, 0, sizeof *s);
  memset(s->fds, -1, sizeof s->fds);
  const int control = REQUIRE_FD(control_open());
  REQUIRE_OK(get_features(control, &features));
  close(control);
  s->accel = (features.features & MLACCEL_FEATURE_ACCEL_NODE) != 0;
  s->vgem = open_driver("vgem");
  s->left = (int64_t)test_rounds(10000);
  s->first_fd = dup(0);
  close(s->first_fd);
}

static const struct {
  const char* name;
  uint64_t value;
} parameters[] = {{"evict_timeout_ms", 60}, {"fence_timeout_ms", 50}, {"watchdog_ms", 10}, {"context_timeout_ms", 100}};
enum { parameter_count = sizeof parameters / sizeof parameters[0] };

static void everything_is_given_back(void) {
  struct Device d;
  char text[64];
  device_setup(&d);
  (void)EVENTUALLY(user_bytes(&d, getuid()).host == 0);
  CHECK_EQ(user_bytes(&d, getuid()).host, 0);
  CHECK_EQ(user_bytes(&d, 4711).host, 0);
  CHECK_EQ(memory_used(&d), 0);
  device_remove(&d);
  if (CHECK(EVENTUALLY(unload_module() == 0)))
    load_module();
  else if (read_text("/sys/module/mlaccel/refcnt", text, sizeof text))
    note("the module is used %s times", text);
}

static void random_calls_give_everything_back(void) {
  struct Shared* s = shared_memory(sizeof *s);
  struct Fuzzer fuzzers[threads];
  pthread_t running[threads];
  uint64_t usual[parameter_count], seed = test_seed();
  add(client_operations, client_operation_count);
  add(daemon_operations, daemon_operation_count);
  add(memory_operations, memory_operation_count);
  prepare(s);
  for (int i = 0; i < parameter_count; i++) {
    usual[i] = module_parameter(parameters[i].name);
    set_module_parameter(parameters[i].name, parameters[i].value);
  }
  note("seed %#jx, %jd calls, %d threads", (uintmax_t)test_seed(), (intmax_t)s->left, threads);
  for (int i = 0; i < threads; i++) {
    fuzzers[i] = (struct Fuzzer){.shared = s, .seed = next_random(&seed)};
    running[i] = start_thread(make_calls, &fuzzers[i]);
  }
  for (int i = 0; i < threads; i++) pthread_join(running[i], NULL);
  close(s->vgem);
  close_range((unsigned)s->first_fd, ~0u, 0);
  for (int i = 0; i < parameter_count; i++) set_module_parameter(parameters[i].name, usual[i]);
  print_totals(s);
  check_no_strange_errors(s);
  everything_is_given_back();
}

static const struct Case cases[] = {
    {"random_calls_give_everything_back", random_calls_give_everything_back, 24 * 3600},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
