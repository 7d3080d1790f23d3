// A client that keeps its small control group full, and puts processes into it as fast as they are killed: whatever is
// charged to that group might wait as long as the client likes. It does so alone.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/cgroup.h"
#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

static const uint64_t mebibyte = 1 << 20;
static const uint64_t bytes = 12 << 20;
static const char* const theirs = "mlaccel-client";
static const char* const ours = "mlaccel-worker";

struct Scene {
  struct Device d, other;
  int sockets[2];
};

// What the kernel says of each kill takes longer than the kill, on an emulator's serial line.
static void silence(bool on) {
  (void)write_text("/proc/sys/vm/oom_dump_tasks", on ? "0" : "1");
  (void)write_text("/sys/module/printk/parameters/ignore_loglevel", on ? "N" : "Y");
  (void)write_text("/proc/sys/kernel/printk", on ? "1" : "7");
}

static void set_scene(struct Scene* s, const char* memory_max) {
  silence(true);
  group_make(theirs, memory_max);
  group_make(ours, NULL);
  device_setup(&s->d);
  socket_pair(s->sockets);
}

static void clear_scene(struct Scene* s, pid_t client) {
  kill(client, SIGKILL);
  CHECK_EQ(wait_child(client, 60), 128 + SIGKILL);
  device_remove(&s->d);
  group_remove(ours);
  group_remove(theirs);
  silence(false);
}

// ---- who keeps the group full ----

// One that moves in has taken nothing there, so its death gives nothing back.
static void supply(void) {
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  char path[128], text[16];
  snprintf(text, sizeof text, "%d", pid);
  group_path(theirs, "cgroup.procs", path);
  (void)write_text(path, text);
}

static void supply_victims(void* argument) {
  (void)argument;
  REQUIRE_OK(group_enter(NULL));
  REQUIRE_OK(write_text("/proc/self/oom_score_adj", "1000"));
  for (int i = 0; i < 40; i++) supply();
  for (;;) {
    waitpid(-1, NULL, 0);
    supply();
  }
}

static void take_pages(void) {
  char* fill = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fill == MAP_FAILED) return;
  for (size_t i = 0; i < 64 << 20; i += 4096) fill[i] = 1;
}

// The kernel's own memory on their behalf.
static void take_mappings(void) {
  for (int i = 0;; i++) mmap(NULL, 4096, i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// Somebody in the group does it, and the next one when that one was killed.
static void again_and_again(void (*body)(void)) {
  for (;;) {
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      (void)group_enter(theirs);
      body();
      _exit(0);
    }
    waitpid(pid, NULL, 0);
  }
}

static void keep_taking_pages(void* argument) {
  (void)argument;
  again_and_again(take_pages);
}

static void keep_taking_mappings(void* argument) {
  (void)argument;
  again_and_again(take_mappings);
}

// Whoever goes in there may not come out of a call again.
static void keep_full(void) {
  for (int i = 0; i < 3; i++) fork_child(keep_taking_pages, NULL);
  fork_child(keep_taking_mappings, NULL);
  for (int i = 0; i < 3; i++) fork_child(supply_victims, NULL);
}

// ---- in a page fault ----

static void hand_over_memory(void* argument) {
  const struct Scene* s = argument;
  uint32_t handle;
  int dmabuf;
  REQUIRE_OK(group_enter(theirs));
  const int drm = device_open(&s->d);
  REQUIRE_OK(group_enter(NULL));
  REQUIRE_OK(host_bo(drm, bytes, &handle));
  REQUIRE_OK(prime_export(drm, handle, &dmabuf));
  for (int i = 0; i < 2; i++) fork_child(supply_victims, NULL);
  pause_ns(MILLISECONDS(500));
  REQUIRE_OK(send_fd(s->sockets[1], dmabuf));
  pause();
}

static void touch_all(void* argument) {
  const int dmabuf = *(const int*)argument;
  REQUIRE_OK(group_enter(ours));
  char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
  REQUIRE(at != MAP_FAILED);
  for (uint64_t i = 0; i < bytes; i += 4096) at[i] = 1;
}

static void a_worker_is_not_held_in_a_page_fault(void) {
  struct Scene s;
  set_scene(&s, "262144");
  const pid_t client = fork_child(hand_over_memory, &s);
  int dmabuf = REQUIRE_FD(receive_fd(s.sockets[0]));
  const pid_t worker = fork_child(touch_all, &dmabuf);
  CHECK_OK(wait_child(worker, 30));
  group_note(theirs);
  CHECK_AS(group_bytes(ours), <, 2 * mebibyte);
  kill(client, SIGKILL);
  wait_child(worker, 20);
  close(dmabuf);
  clear_scene(&s, client);
}

// ---- with its file's lock ----

static void create_queues(void* argument) {
  const struct Scene* s = argument;
  struct ClientQueue q;
  const int drm = device_open(&s->d);
  struct drm_mlaccel_ctx_create context = {.timeout_ns = MLACCEL_TIMEOUT_MIN_NS};
  REQUIRE_OK(ctx_create(drm, &context));
  REQUIRE_OK(client_queue_try_open(&q, drm, context.context, 4, -1));
  submit_nops(&q, 1);
  REQUIRE_OK(ring(&q));
  REQUIRE_OK(send_fd(s->sockets[1], q.fd));
  REQUIRE_EQ(hear(s->sockets[1]), 'g');
  keep_full();
  REQUIRE_OK(group_enter(theirs));
  for (;;) {
    struct drm_mlaccel_queue_create next = {.context = context.context, .depth = 4, .wake_fd = -1};
    if (queue_create(drm, &next) != 0) continue;
    close(next.fd);
    queue_destroy(drm, next.queue);
  }
}

// All of its descriptors: one of them is the client's file.
static void read_fdinfo(void* argument) {
  char path[64], text[4096];
  for (int fd = 0; fd < 30; fd++) {
    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", *(const pid_t*)argument, fd);
    (void)read_text(path, text, sizeof text);
  }
}

static void stop_device(void* argument) {
  const struct Device* d = argument;
  REQUIRE_OK(dev_stop(d->control, d->number));
}

static void others_get_by_a_client_that_makes_queues(void) {
  struct Scene s;
  struct WorkerQueue w;
  set_scene(&s, "8388608");
  pid_t client = fork_child(create_queues, &s);
  worker_queue_map(&w, s.d.worker, s.d.generation, REQUIRE_FD(receive_fd(s.sockets[0])));
  REQUIRE_EQ(take_descriptors(&w, 1), 1);
  tell(s.sockets[0], 'g');
  int result = 0;
  for (int i = 0; i < 10 && result == 0; i++) {
    pause_ns(MILLISECONDS(500));
    const pid_t reader = fork_child(read_fdinfo, &client);
    result = wait_child(reader, 10);
    if (result == 0) continue;
    kill(reader, SIGKILL);
    CHECK_EQ(wait_child(reader, 10), 128 + SIGKILL);
  }
  CHECK_OK(result);
  // A hang is seen by the watchdog, which looks at the client's other queues as well, and DEV_STOP waits for it.
  say_running(&w, now_ns());
  CHECK(EVENTUALLY(__atomic_load_n(&w.state->state, __ATOMIC_ACQUIRE) == MLRING_STATE_LOST));
  const pid_t stopper = fork_child(stop_device, &s.d);
  CHECK_OK(wait_child(stopper, 20));
  group_note(theirs);
  clear_scene(&s, client);
}

// ---- with the device's locks ----

static void open_again_and_again(void* argument) {
  const struct Scene* s = argument;
  REQUIRE_OK(group_enter(NULL));
  for (;;) {
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      (void)group_enter(theirs);
      for (;;) {
        const int drm = device_try_open(&s->d);
        if (drm >= 0) close(drm);
      }
    }
    waitpid(pid, NULL, 0);
  }
}

static void open_many(void* argument) {
  const struct Scene* s = argument;
  keep_full();
  for (int i = 0; i < 4; i++) fork_child(open_again_and_again, argument);
  tell(s->sockets[1], 'g');
  // A little room now and then lets one of them come as far as the locks. Once they are held no more is made.
  for (uint64_t max = 4 * mebibyte;; max += 16384) {
    char text[32];
    snprintf(text, sizeof text, "%ju", (uintmax_t)max);
    group_limit(theirs, text);
    pause_ns(MILLISECONDS(30));
    struct drm_mlaccel_dev_query query = {.flags = 0};
    const int drm = device_open(&s->d);
    REQUIRE_OK(dev_query(drm, &query));
    close(drm);
  }
}

static void open_and_ask(void* argument) {
  const struct Device* d = argument;
  struct drm_mlaccel_dev_query query = {.flags = 0};
  uint32_t handle;
  const int drm = device_open(d);
  REQUIRE_OK(dev_query(drm, &query));
  REQUIRE_OK(host_bo(drm, 4096, &handle));
}

static void check_others(const struct Device* d, unsigned seconds) {
  const uint64_t until = now_ns() + SECONDS(seconds);
  while (now_ns() < until) {
    const pid_t other = fork_child(open_and_ask, (void*)d);
    if (!CHECK_OK(wait_child(other, 10))) {
      kill(other, SIGKILL);
      return;
    }
    pause_ns(MILLISECONDS(100));
  }
}

static void others_get_by_a_client_that_opens_files(void) {
  struct Scene s;
  set_scene(&s, "4194304");
  const pid_t client = fork_child(open_many, &s);
  REQUIRE_EQ(hear(s.sockets[0]), 'g');
  check_others(&s.d, 12);
  group_note(theirs);
  clear_scene(&s, client);
}

// DRM makes a dma-buf's file under a lock of the device.
static void export_memory(void* argument) {
  enum { count = 3000 };
  const struct Scene* s = argument;
  static uint32_t handles[count];
  int dmabuf;
  const int drm = device_open(&s->d);
  for (int i = 0; i < count; i++) REQUIRE_OK(host_bo(drm, 4096, &handles[i]));
  keep_full();
  tell(s->sockets[1], 'g');
  REQUIRE_OK(group_enter(theirs));
  for (int i = 0; i < count; i++)
    if (prime_export(drm, handles[i], &dmabuf) == 0) close(dmabuf);
  pause();
}

static void others_get_by_a_client_that_exports(void) {
  struct Scene s;
  set_scene(&s, "8388608");
  const pid_t client = fork_child(export_memory, &s);
  REQUIRE_EQ(hear(s.sockets[0]), 'g');
  check_others(&s.d, 12);
  group_note(theirs);
  clear_scene(&s, client);
}

// Importing touches all pages, under locks of the device that imports.
static void import_memory(void* argument) {
  const struct Scene* s = argument;
  uint32_t handle;
  int dmabuf;
  REQUIRE_OK(group_enter(theirs));
  const int drm = device_open(&s->d), other = device_open(&s->other);
  REQUIRE_OK(group_enter(NULL));
  REQUIRE_OK(host_bo(drm, bytes, &handle));
  REQUIRE_OK(prime_export(drm, handle, &dmabuf));
  for (int i = 0; i < 2; i++) fork_child(supply_victims, NULL);
  pause_ns(MILLISECONDS(500));
  tell(s->sockets[1], 'g');
  REQUIRE_OK(group_enter(theirs));
  for (;;)
    if (prime_import(other, dmabuf, &handle) == 0) gem_close(other, handle);
}

static void others_get_by_a_client_that_imports(void) {
  struct Scene s;
  set_scene(&s, "8388608");
  device_add(&s.other, s.d.control, &(struct DeviceOptions){.memory_bytes = mebibyte});
  const pid_t client = fork_child(import_memory, &s);
  REQUIRE_EQ(hear(s.sockets[0]), 'g');
  check_others(&s.other, 5);
  group_note(theirs);
  close(s.other.worker);
  CHECK_OK(dev_unregister(s.d.control, s.other.number));
  clear_scene(&s, client);
}

static const struct Case cases[] = {
    {"a_worker_is_not_held_in_a_page_fault", a_worker_is_not_held_in_a_page_fault, 0},
    {"others_get_by_a_client_that_makes_queues", others_get_by_a_client_that_makes_queues, 0},
    {"others_get_by_a_client_that_opens_files", others_get_by_a_client_that_opens_files, 0},
    {"others_get_by_a_client_that_exports", others_get_by_a_client_that_exports, 0},
    {"others_get_by_a_client_that_imports", others_get_by_a_client_that_imports, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
