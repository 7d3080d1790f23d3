// Every call with its first, second, ... allocation or copy failing: ENOMEM, and nothing has changed; then it works.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "support/every_call.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/snapshot.h"
#include "support/tap.h"

enum { most_failures = 1000 };
static int fail_nth = -1;

static void set_failure(const char* kind, const char* option, const char* value) {
  char path[128];
  snprintf(path, sizeof path, "/sys/kernel/debug/%s/%s", kind, option);
  (void)write_text(path, value);
}

// Of this thread's allocations, those that may sleep too; and no stack of each in the log.
static void prepare(void) {
  fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
  if (fail_nth < 0) {
    struct utsname names;
    uname(&names);
    // The debug kernel is there for this.
    REQUIRE(strstr(names.release, "-mlaccel-debug") == NULL);
    skip("needs CONFIG_FAULT_INJECTION");
  }
  static const char* const kinds[] = {"failslab", "fail_page_alloc", "fail_usercopy"};
  for (size_t i = 0; i < 3; i++) {
    set_failure(kinds[i], "verbose", "0");
    set_failure(kinds[i], "ignore-gfp-wait", "N");
    set_failure(kinds[i], "ignore-gfp-highmem", "N");
    set_failure(kinds[i], "min-order", "0");
  }
}

static void fail_the(unsigned nth) {
  char text[16];
  const int length = snprintf(text, sizeof text, "%u", nth);
  REQUIRE_EQ(pwrite(fail_nth, text, (size_t)length, 0), length);
}

// Whether something has failed since; from here on nothing does.
static bool has_failed(void) {
  char text[16] = "";
  // What is still to fail may be this read itself, or the write behind it.
  const bool failed = pread(fail_nth, text, sizeof text - 1, 0) > 0 && atoi(text) == 0;
  (void)pwrite(fail_nth, "0", 1, 0);
  return failed;
}

static void close_from(int first) { close_range((unsigned)first, ~0u, 0); }

struct Count {
  unsigned failures, tolerated, answers;
};

// One try. False: nothing was left to fail.
static bool fail_once(struct World* w, const struct EveryCall* c, unsigned nth, struct Count* count) {
  static struct Snapshot before;
  union Argument argument;
  memset(&argument, 0, sizeof argument);
  c->fill(w, &argument);
  const union Argument right = argument;
  snapshot_take(&before, &w->device, w->drm);
  const int first_free = dup(0);
  close(first_free);
  fail_the(nth);
  const int answer = call(world_file(w, c), c->request, &argument);
  const bool failed = has_failed();
  if (failed && answer == -EFAULT) {
    // A copy has failed, perhaps that of the answer: what was made goes with its file.
    count->answers++;
    close_from(first_free);
    world_free(w);
    world_make(w);
    return true;
  }
  const bool done = answer == c->answer;
  if (failed && !done) {
    if (!CHECK_ERR(answer, ENOMEM)) note("%s, failure %u", c->name, nth);
    CHECK(memcmp(&argument, &right, call_bytes(c)) == 0);
    snapshot_same(&before, &w->device, w->drm, c->name);
    if (!CHECK_ERR(fcntl(first_free, F_GETFD) < 0 ? -errno : 0, EBADF)) note("%s leaves a descriptor", c->name);
    count->failures++;
  } else {
    if (!CHECK_EQ(answer, c->answer)) note("%s, without failure", c->name);
    count->tolerated += failed;
  }
  if (c->clean != NULL) c->clean(w, done ? &argument : &right, answer == 0);
  return failed;
}

// Behind our own allocations for a device come those of the driver core, which reports each failure as an error in the
// log, and of DRM, whose drm_minor_alloc() in 6.1 puts an error pointer when its second one fails.
static unsigned most_of(const struct EveryCall* c) { return strcmp(c->name, "DEV_REGISTER") == 0 ? 5 : most_failures; }

static void every_call_survives_each_failing_allocation(void) {
  prepare();
  struct World w;
  world_make(&w);
  struct Count all = {.failures = 0};
  for (size_t i = 0; i < every_call_count; i++) {
    struct Count count = {.failures = 0};
    unsigned nth = 1;
    while (nth < most_of(&every_call[i]) && fail_once(&w, &every_call[i], nth, &count)) nth++;
    CHECK_AS(nth, <, most_failures);
    note("%s: %u failures, %u without consequence, %u copies", every_call[i].name, count.failures, count.tolerated,
         count.answers);
    // What is known of it at the least: a copy in.
    CHECK_AS(nth, >, 1);
    all.failures += count.failures;
    all.tolerated += count.tolerated;
    all.answers += count.answers;
  }
  note("all: %u failures, %u without consequence, %u copies", all.failures, all.tolerated, all.answers);
  CHECK_AS(all.failures, >, 50);
  world_free(&w);
}

// ---- system calls that are no ioctl, and DRM's own ioctls on our objects

struct Other {
  const char* name;
  // 0 or -errno; what it has made is undone before it returns, or goes with close_from().
  int (*run)(struct World* w);
};

static int open_node(struct World* w) {
  const int fd = device_try_open(&w->device);
  if (fd < 0) return fd;
  close(fd);
  return 0;
}

static int map_and_touch(int fd, uint64_t offset, bool touch) {
  volatile char* at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
  if (at == MAP_FAILED) return -errno;
  // A page that can't be had now is asked for again.
  if (touch) at[4095] = 't';
  munmap((void*)(uintptr_t)at, 4096);
  return 0;
}

static int map_queue(struct World* w) { return map_and_touch(w->queue.fd, w->queue.layout.submission_offset, true); }

static int map_queue_of_worker(struct World* w) {
  return map_and_touch(w->device.worker, w->at_worker.info.map_offset + w->queue.layout.completion_offset, true);
}

static int map_buffer(struct World* w) {
  struct drm_mlaccel_bo_info info;
  const int result = bo_info(w->drm, w->host, &info);
  return result != 0 ? result : map_and_touch(w->drm, info.map_offset, false);
}

static int export_memory(struct World* w) {
  int fd = -1;
  const int result = prime_export(w->drm, w->memory, &fd);
  if (result == 0) close(fd);
  return result;
}

static int export_of_file(int drm) {
  uint32_t handle;
  int fd = -1;
  int result = host_bo(drm, 8192, &handle);
  if (result == 0) result = prime_export(drm, handle, &fd);
  if (result == 0) close(fd);
  return result;
}

// In a file of its own, with which everything goes.
static int export_new_buffer(struct World* w) {
  const int drm = device_try_open(&w->device);
  if (drm < 0) return drm;
  const int result = export_of_file(drm);
  close(drm);
  return result;
}

static int import_into_vgem(struct World* w) {
  const int vgem = open_driver("vgem");
  uint32_t handle;
  if (vgem < 0) return vgem;
  const int result = prime_import(vgem, w->dmabuf, &handle);
  close(vgem);
  return result;
}

static int import_from_another_file(struct World* w) {
  const int fd = device_try_open(&w->device);
  uint32_t handle;
  if (fd < 0) return fd;
  const int result = prime_import(fd, w->dmabuf, &handle);
  close(fd);
  return result;
}

static int read_event(struct World* w) {
  struct mlaccel_event event;
  const int result = ring(&w->queue);
  if (result != 0) return result;
  return read(w->device.worker, &event, sizeof event) < 0 ? -errno : 0;
}

static int read_fdinfo(struct World* w) {
  char path[64], text[2048];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", w->drm);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  const int result = read(fd, text, sizeof text) < 0 ? -errno : 0;
  close(fd);
  return result;
}

static int send_queue(struct World* w) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) return -errno;
  const int result = send_fd(sockets[0], w->queue.fd);
  close(sockets[0]);
  close(sockets[1]);
  return result;
}

static const struct Other others[] = {
    {"open", open_node},
    {"mmap of a queue", map_queue},
    {"mmap of a worker's queue", map_queue_of_worker},
    {"mmap of a buffer", map_buffer},
    {"export of device memory", export_memory},
    {"export of a new buffer", export_new_buffer},
    {"import into vgem", import_into_vgem},
    {"import from another file", import_from_another_file},
    {"read of a worker", read_event},
    {"fdinfo", read_fdinfo},
    {"sendmsg", send_queue},
};

static void opening_mapping_and_sharing_survive_each_failing_allocation(void) {
  prepare();
  struct World w;
  static struct Snapshot before;
  world_make(&w);
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    unsigned nth = 1, failures = 0;
    bool failed = true;
    // Once as it is: what is made on first use is made.
    CHECK_OK(others[i].run(&w));
    snapshot_take(&before, &w.device, w.drm);
    const int first_free = dup(0);
    close(first_free);
    for (; failed && nth < most_failures; nth++) {
      fail_the(nth);
      const int answer = others[i].run(&w);
      failed = has_failed();
      close_from(first_free);
      if (!failed) {
        if (!CHECK_OK(answer)) note("%s", others[i].name);
        break;
      }
      failures += answer != 0;
      // ENFILE and EAGAIN are what other parts of the kernel make of it.
      if (!CHECK(answer == 0 || answer == -ENOMEM || answer == -EFAULT || answer == -ENFILE || answer == -EAGAIN ||
                 answer == -ENOBUFS))
        note("%s, failure %u: %d", others[i].name, nth, answer);
      // An event that could not be told is due still.
      struct mlaccel_event events[4];
      (void)next_events(w.device.worker, events, 4);
    }
    CHECK_AS(nth, <, most_failures);
    snapshot_same(&before, &w.device, w.drm, others[i].name);
    note("%s: %u of %u failures", others[i].name, failures, nth - 1);
  }
  world_free(&w);
}

static void a_buffers_pages_can_be_had_again_after_a_failure(void) {
  prepare();
  struct World w;
  world_make(&w);
  unsigned failures = 0;
  bool failed = true;
  for (unsigned nth = 1; failed && nth < 100; nth++) {
    struct drm_mlaccel_bo_info info;
    uint32_t handle;
    REQUIRE_OK(host_bo(w.drm, 4096, &handle));
    REQUIRE_OK(bo_info(w.drm, handle, &info));
    char* at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, w.drm, (off_t)info.map_offset);
    REQUIRE(at != MAP_FAILED);
    // By a system call, which answers EFAULT where a touch would be tried again.
    const int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    fail_the(nth);
    const ssize_t got = read(zero, at, 4096);
    failed = has_failed();
    close(zero);
    CHECK(got == 4096 || (failed && (got < 4096)));
    failures += got != 4096;
    memset(at, 'p', 4096);
    CHECK_EQ(at[4095], 'p');
    munmap(at, 4096);
    CHECK_OK(gem_close(w.drm, handle));
  }
  CHECK(!failed);
  note("%u failures", failures);
  CHECK_EQ(user_bytes(&w.device, 4711).host, 0);
  world_free(&w);
}

static const struct Case cases[] = {
    {"every_call_survives_each_failing_allocation", every_call_survives_each_failing_allocation, 600},
    {"opening_mapping_and_sharing_survive_each_failing_allocation",
     opening_mapping_and_sharing_survive_each_failing_allocation, 600},
    {"a_buffers_pages_can_be_had_again_after_a_failure", a_buffers_pages_can_be_had_again_after_a_failure, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
