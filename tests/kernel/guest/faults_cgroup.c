// A client's control group is full: who pays for what its worker touches, and who is killed for it.
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/cgroup.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

static const uint64_t mebibyte = 1 << 20;
static const uint64_t bytes = 12 << 20;  // a third more than the client's group holds
static const char* const theirs = "mlaccel-client";
static const char* const ours = "mlaccel-worker";

struct Scene {
  struct Device d;
  int sockets[2];
  int* leaving;  // shared: the client's thread is about to exit
};

static void set_scene(struct Scene* s) {
  group_make(theirs, "8388608");
  group_make(ours, NULL);
  device_setup(&s->d);
  socket_pair(s->sockets);
  s->leaving = mmap(NULL, sizeof *s->leaving, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(s->leaving != MAP_FAILED);
  *s->leaving = 0;
}

static void clear_scene(struct Scene* s) {
  device_remove(&s->d);
  group_remove(ours);
  group_remove(theirs);
}

// A host BO of the client's, as a dma-buf.
static int make_memory(const struct Scene* s) {
  uint32_t handle;
  int dmabuf;
  const int drm = device_open(&s->d);
  REQUIRE_OK(host_bo(drm, bytes, &handle));
  REQUIRE_OK(prime_export(drm, handle, &dmabuf));
  return dmabuf;
}

static void touch_all(void* argument) {
  const int dmabuf = *(const int*)argument;
  REQUIRE_OK(group_enter(ours));
  char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
  REQUIRE(at != MAP_FAILED);
  for (uint64_t i = 0; i < bytes; i += 4096) at[i] = 1;
}

// It gets at all of it, at once, and its own group has no part in that.
static void check_worker(int dmabuf) {
  CHECK_OK(wait_child(fork_child(touch_all, &dmabuf), 60));
  group_note(theirs);
  group_note(ours);
  CHECK_AS(group_bytes(ours), <, 2 * mebibyte);
}

// ---- who made the memory has gone ----

static void make_and_go(void* argument) {
  const struct Scene* s = argument;
  REQUIRE_OK(group_enter(theirs));
  REQUIRE_OK(send_fd(s->sockets[1], make_memory(s)));
}

static void nobody_pays_for_a_group_whose_client_has_gone(void) {
  struct Scene s;
  set_scene(&s);
  CHECK_OK(wait_child(fork_child(make_and_go, &s), 20));
  const int dmabuf = REQUIRE_FD(receive_fd(s.sockets[0]));
  check_worker(dmabuf);
  close(dmabuf);
  clear_scene(&s);
}

// ---- a client that lives is killed ----

static void live_there(void* argument) {
  const struct Scene* s = argument;
  REQUIRE_OK(group_enter(theirs));
  REQUIRE_OK(send_fd(s->sockets[1], make_memory(s)));
  hear(s->sockets[1]);
}

static void move_out_and_live(void* argument) {
  const struct Scene* s = argument;
  REQUIRE_OK(group_enter(theirs));
  const int dmabuf = make_memory(s);
  REQUIRE_OK(group_enter(NULL));
  REQUIRE_OK(send_fd(s->sockets[1], dmabuf));
  hear(s->sockets[1]);
}

static int threads_of(pid_t pid) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  const char* line = read_text(path, text, sizeof text) ? strstr(text, "\nThreads:") : NULL;
  return line != NULL ? atoi(line + strlen("\nThreads:")) : 0;
}

static void check_killed(void (*client)(void*), bool a_thread_exits) {
  struct Scene s;
  set_scene(&s);
  const pid_t pid = fork_child(client, &s);
  const int dmabuf = REQUIRE_FD(receive_fd(s.sockets[0]));
  if (a_thread_exits) {
    REQUIRE(EVENTUALLY(__atomic_load_n(s.leaving, __ATOMIC_SEQ_CST) && threads_of(pid) == 1));
    group_note(theirs);
    CHECK_EQ(wait_child(pid, 0), -ETIMEDOUT);
  }
  check_worker(dmabuf);
  CHECK_EQ(wait_child(pid, 5), 128 + SIGKILL);
  close(dmabuf);
  clear_scene(&s);
}

static void a_client_in_its_group_is_killed(void) { check_killed(live_there, false); }

static void a_client_that_has_left_its_group_is_killed(void) { check_killed(move_out_and_live, false); }

// ---- nobody else in the group is ----

static void be_large(void* argument) {
  const struct Scene* s = argument;
  REQUIRE_OK(group_enter(theirs));
  char* at = mmap(NULL, 5 * mebibyte, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  memset(at, 1, 5 * mebibyte);
  tell(s->sockets[1], 'l');
  pause();
}

static void whoever_owes_is_killed_not_whoever_is_largest(void) {
  struct Scene s;
  set_scene(&s);
  const pid_t large = fork_child(be_large, &s);
  REQUIRE_EQ(hear(s.sockets[0]), 'l');
  const pid_t client = fork_child(live_there, &s);
  const int dmabuf = REQUIRE_FD(receive_fd(s.sockets[0]));
  check_worker(dmabuf);
  CHECK_EQ(wait_child(client, 5), 128 + SIGKILL);
  CHECK_EQ(wait_child(large, 0), -ETIMEDOUT);
  kill(large, SIGKILL);
  wait_child(large, 20);
  close(dmabuf);
  clear_scene(&s);
}

// ---- a thread that exits is refused without anybody being killed; that says nothing about its process ----

enum { locks = 512 };
static char* memory;

// Leaves a list of robust futexes that have all their words in the BO, in a group that has a MiB left.
static void* exit_with_locks(void* argument) {
  const struct Scene* s = argument;
  static struct robust_list_head head;
  const uint64_t page = 4096;
  // All entries are one page, so that walking the list takes nothing.
  const int file = memfd_create("entries", 0);
  REQUIRE_OK(ftruncate(file, (off_t)page));
  char* area = mmap(NULL, locks * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(area != MAP_FAILED);
  for (uint64_t i = 0; i < locks; i++) {
    char* at = area + i * page;
    REQUIRE(mmap(at, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == at);
  }
  for (uint64_t i = 0; i < locks; i++) {
    char* next = i + 1 < locks ? area + (i + 1) * (page + 8) : (char*)&head.list;
    memcpy(area + i * (page + 8), &next, sizeof next);
  }
  for (uint64_t i = 0; i < locks; i++) (void)*(volatile char*)(area + i * page);
  head.list.next = (struct robust_list*)area;
  head.futex_offset = memory - area;

  char* fill = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(fill != MAP_FAILED);
  for (uint64_t i = 0; group_bytes(theirs) + mebibyte < 8 * mebibyte; i += page) fill[i] = 1;
  REQUIRE_OK(syscall(SYS_set_robust_list, &head, sizeof head));
  __atomic_store_n(s->leaving, 1, __ATOMIC_SEQ_CST);
  syscall(SYS_exit, 0);
  return NULL;
}

static void let_a_thread_exit(void* argument) {
  const struct Scene* s = argument;
  REQUIRE_OK(group_enter(theirs));
  const int dmabuf = make_memory(s);
  memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
  REQUIRE(memory != MAP_FAILED);
  REQUIRE_OK(send_fd(s->sockets[1], dmabuf));
  start_thread(exit_with_locks, argument);
  pause();
}

static void a_thread_that_exits_settles_nothing(void) { check_killed(let_a_thread_exit, true); }

static const struct Case cases[] = {
    {"nobody_pays_for_a_group_whose_client_has_gone", nobody_pays_for_a_group_whose_client_has_gone, 0},
    {"a_client_in_its_group_is_killed", a_client_in_its_group_is_killed, 0},
    {"a_client_that_has_left_its_group_is_killed", a_client_that_has_left_its_group_is_killed, 0},
    {"whoever_owes_is_killed_not_whoever_is_largest", whoever_owes_is_killed_not_whoever_is_largest, 0},
    {"a_thread_that_exits_settles_nothing", a_thread_that_exits_settles_nothing, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
