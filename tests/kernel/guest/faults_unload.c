// rmmod: refused while anything of the module lives, whatever it is, and possible right behind.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/module.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/uring.h"
#include "support/worker_queue.h"

// What may keep the module: descriptors, mappings, and what others hold for us.
enum Part {
  CONTROL,
  WORKER,
  NODE,
  QUEUE,
  DMABUF,
  SYNC_FILE,
  TIMELINE,
  URING,
  SOCKET,
  SOCKET_END,
  VGEM,
  DESCRIPTORS,
  BUFFER_MAPPING = DESCRIPTORS,
  IMPORTED_MAPPING,
  QUEUE_MAPPING,
  WORKER_MAPPING,
  PARTS
};

static const char* const names[PARTS] = {
    [CONTROL] = "the control node",
    [WORKER] = "a worker's file",
    [NODE] = "a device's node",
    [QUEUE] = "a queue's file",
    [DMABUF] = "a dma-buf",
    [SYNC_FILE] = "a sync_file",
    [TIMELINE] = "a syncobj's file",
    [URING] = "a fixed file of io_uring",
    [SOCKET] = "a descriptor on its way",
    [VGEM] = "an import of vgem's",
    [BUFFER_MAPPING] = "a mapping of a buffer",
    [IMPORTED_MAPPING] = "a mapping of a dma-buf",
    [QUEUE_MAPPING] = "a client's mapping of a queue",
    [WORKER_MAPPING] = "a worker's mapping of a queue",
};

struct All {
  int fds[DESCRIPTORS];
  volatile char* mappings[PARTS];
};

static const size_t page = 4096;

static volatile char* map(int fd, uint64_t offset, int protection) {
  void* at = mmap(NULL, page, protection, MAP_SHARED, fd, (off_t)offset);
  REQUIRE(at != MAP_FAILED);
  return at;
}

static void map_memory(struct All* a) {
  struct drm_mlaccel_bo_info info;
  uint32_t handle, imported;
  REQUIRE_OK(host_bo(a->fds[NODE], page, &handle));
  REQUIRE_OK(bo_info(a->fds[NODE], handle, &info));
  a->mappings[BUFFER_MAPPING] = map(a->fds[NODE], info.map_offset, PROT_READ | PROT_WRITE);
  REQUIRE_OK(prime_export(a->fds[NODE], handle, &a->fds[DMABUF]));
  a->mappings[IMPORTED_MAPPING] = map(a->fds[DMABUF], 0, PROT_READ | PROT_WRITE);
  a->fds[VGEM] = REQUIRE_FD(open_driver("vgem"));
  REQUIRE_OK(prime_import(a->fds[VGEM], a->fds[DMABUF], &imported));
}

static void make_fences(struct All* a, struct ClientQueue* q) {
  uint32_t binary, timeline;
  const uint64_t last = submit_nops(q, 1);
  REQUIRE_OK(syncobj_create(q->drm, 0, &binary));
  REQUIRE_OK(syncobj_create(q->drm, 0, &timeline));
  REQUIRE_OK(arm_point(q->drm, q->number, last, binary, 0));
  REQUIRE_OK(arm_point(q->drm, q->number, last, timeline, 1));
  REQUIRE_OK(sync_file_export(q->drm, binary, &a->fds[SYNC_FILE]));
  REQUIRE_OK(syncobj_export(q->drm, timeline, &a->fds[TIMELINE]));
}

// Everything once, and of each nothing but the part.
static void make_all(struct All* a) {
  struct Device d;
  struct ClientQueue q;
  struct WorkerQueue w;
  struct Uring uring;
  int sockets[2];
  memset(a, 0, sizeof *a);
  device_setup(&d);
  a->fds[CONTROL] = d.control;
  a->fds[WORKER] = d.worker;
  a->fds[NODE] = device_open(&d);
  client_queue_open(&q, a->fds[NODE], 8);
  worker_queue_map(&w, d.worker, d.generation, q.fd);
  make_fences(a, &q);
  map_memory(a);
  a->fds[QUEUE] = q.fd;
  a->mappings[QUEUE_MAPPING] = map(q.fd, q.layout.submission_offset, PROT_READ | PROT_WRITE);
  a->mappings[WORKER_MAPPING] = map(d.worker, w.info.map_offset + w.layout.completion_offset, PROT_READ | PROT_WRITE);
  q.fd = dup(q.fd);
  client_queue_unmap(&q);
  forget_pages(&w);
  REQUIRE_OK(uring_open(&uring));
  REQUIRE_OK(uring_register_file(&uring, d.worker));
  uring_forget(&uring);
  a->fds[URING] = uring.fd;
  socket_pair(sockets);
  REQUIRE_OK(send_fd(sockets[0], d.worker));
  a->fds[SOCKET] = sockets[1];
  a->fds[SOCKET_END] = sockets[0];
}

static void drop(struct All* a, enum Part part) {
  if (part >= DESCRIPTORS) {
    REQUIRE_OK(munmap((void*)(uintptr_t)a->mappings[part], page));
    return;
  }
  close(a->fds[part]);
}

static void each_thing_that_lives_keeps_the_module(void) {
  for (int kept = 0; kept < PARTS && !case_failed(); kept++) {
    struct All a;
    if (names[kept] == NULL) continue;
    make_all(&a);
    if (!CHECK_ERR(unload_module(), EWOULDBLOCK)) note("with everything, for %s", names[kept]);
    for (int part = 0; part < PARTS; part++)
      if (part != kept && (part != SOCKET_END || kept != SOCKET)) drop(&a, (enum Part)part);
    // What goes in the background has gone: the module is kept by that one thing.
    for (int i = 0; i < 20; i++) {
      if (!CHECK_ERR(unload_module(), EWOULDBLOCK)) {
        note("with %s", names[kept]);
        load_module();
        return;
      }
      pause_ns(MILLISECONDS(5));
    }
    // And that one works: the page behind a mapping may not have been touched before.
    if (kept >= DESCRIPTORS) a.mappings[kept][page - 1] = 'm';
    if (kept == SYNC_FILE) CHECK_EQ(sync_file_status(a.fds[SYNC_FILE]), -ENODEV);
    drop(&a, (enum Part)kept);
    if (kept == SOCKET) drop(&a, SOCKET_END);
    if (CHECK(EVENTUALLY_WITHIN(unload_module() == 0, 5)))
      load_module();
    else
      note("without %s", names[kept]);
  }
}

static void unloading_behind_a_close_is_immediate(void) {
  for (int i = 0; i < 5; i++) {
    struct Device d;
    device_setup(&d);
    const int drm = device_open(&d);
    uint32_t handle;
    REQUIRE_OK(host_bo(drm, page, &handle));
    close(drm);
    device_remove(&d);
    CHECK_OK(unload_module());
    load_module();
  }
}

static void* load_and_unload(void* argument) {
  const bool* over = argument;
  uintptr_t unloaded = 0;
  while (!__atomic_load_n(over, __ATOMIC_SEQ_CST)) {
    if (unload_module() != 0) continue;
    unloaded++;
    load_module();
  }
  return (void*)unloaded;
}

static void opening_while_the_module_goes_is_safe(void) {
  bool over = false;
  void* unloaded;
  const pthread_t thread = start_thread(load_and_unload, &over);
  uint64_t seed = test_seed();
  unsigned opened = 0;
  while (opened < 20 && !case_failed()) {
    pause_ns(random_below(&seed, MILLISECONDS(2)));
    const int control = open(MLACCEL_CONTROL_NODE, O_RDWR | O_CLOEXEC);
    if (control < 0) {
      CHECK(errno == ENOENT || errno == ENODEV || errno == ENXIO);
      continue;
    }
    opened++;
    struct mlaccel_dev_register r = {.name = "fleeting", .backend = "fake", .memory_bytes = 1 << 20};
    struct mlaccel_dev_start s = {.fd = -1};
    CHECK_OK(dev_register(control, &r));
    s.device = r.device;
    CHECK_OK(dev_start(control, &s));
    close(control);
    close(s.fd);
  }
  __atomic_store_n(&over, true, __ATOMIC_SEQ_CST);
  pthread_join(thread, &unloaded);
  note("opened %u times, unloaded %zu times", opened, (uintptr_t)unloaded);
}

static const struct Case cases[] = {
    {"each_thing_that_lives_keeps_the_module", each_thing_that_lives_keeps_the_module, 0},
    {"unloading_behind_a_close_is_immediate", unloading_behind_a_close_is_immediate, 0},
    {"opening_while_the_module_goes_is_safe", opening_while_the_module_goes_is_safe, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
