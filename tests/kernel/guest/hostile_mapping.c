// Mappings that must not be: other protections, sizes, offsets, parts, and what is made of a right one later.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

static const size_t page = 4096;

struct Mapped {
  struct Device device;
  int drm;
  struct ClientQueue queue;
  struct WorkerQueue at_worker;
};

// Deep enough for parts of several pages.
static void mapped_make(struct Mapped* m) {
  device_setup(&m->device);
  m->drm = device_open(&m->device);
  client_queue_open(&m->queue, m->drm, 256);
  worker_queue_map(&m->at_worker, m->device.worker, m->device.generation, m->queue.fd);
}

// 0, or the error of mmap(). What can be mapped is unmapped again.
static int try_map(int fd, uint64_t offset, uint64_t bytes, int protection, int flags) {
  void* at = mmap(NULL, bytes, protection, flags, fd, (off_t)offset);
  if (at == MAP_FAILED) return -errno;
  munmap(at, bytes);
  return 0;
}

// One side's file of a queue: where the parts are, and which of them it may write.
struct Side {
  const char* name;
  int fd;
  uint64_t from;
  bool writes_submission;
};

struct Part {
  uint64_t offset, bytes;
  bool writable;
};

static void parts_of(const struct Side* s, const struct mlring_layout* l, struct Part parts[3]) {
  parts[0] = (struct Part){s->from + l->submission_offset, l->submission_bytes, s->writes_submission};
  parts[1] = (struct Part){s->from + l->completion_offset, l->completion_bytes, !s->writes_submission};
  parts[2] = (struct Part){s->from + l->state_offset, l->state_bytes, false};
}

static void each_part_has_the_protections_of_its_side(const struct Side* s, const struct mlring_layout* l) {
  struct Part parts[3];
  parts_of(s, l, parts);
  for (int i = 0; i < 3; i++) {
    const struct Part* p = &parts[i];
    note("%s, part %d", s->name, i);
    CHECK_OK(try_map(s->fd, p->offset, p->bytes, PROT_READ, MAP_SHARED));
    CHECK_OK(try_map(s->fd, p->offset, p->bytes, PROT_NONE, MAP_SHARED));
    CHECK_OK(try_map(s->fd, p->offset, page, PROT_READ, MAP_SHARED));
    CHECK_OK(try_map(s->fd, p->offset + p->bytes - page, page, PROT_READ, MAP_SHARED));
    CHECK_EQ(try_map(s->fd, p->offset, p->bytes, PROT_READ | PROT_WRITE, MAP_SHARED), p->writable ? 0 : -EACCES);
    CHECK_EQ(try_map(s->fd, p->offset, p->bytes, PROT_WRITE, MAP_SHARED), p->writable ? 0 : -EACCES);
    CHECK_ERR(try_map(s->fd, p->offset, p->bytes, PROT_READ | PROT_EXEC, MAP_SHARED), EACCES);
    CHECK_ERR(try_map(s->fd, p->offset, p->bytes, PROT_READ, MAP_PRIVATE), EINVAL);
    CHECK_ERR(try_map(s->fd, p->offset, p->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE), EINVAL);
    // Longer than the part, into the next one or past the end, and from the one before.
    CHECK_ERR(try_map(s->fd, p->offset, p->bytes + page, PROT_READ, MAP_SHARED), EINVAL);
    CHECK_ERR(try_map(s->fd, p->offset + p->bytes - page, 2 * page, PROT_READ, MAP_SHARED), EINVAL);
    if (i > 0) CHECK_ERR(try_map(s->fd, p->offset - page, 2 * page, PROT_READ, MAP_SHARED), EINVAL);
  }
  CHECK_ERR(try_map(s->fd, s->from, l->bytes, PROT_READ, MAP_SHARED), EINVAL);
  CHECK_ERR(try_map(s->fd, s->from + l->bytes, page, PROT_READ, MAP_SHARED), EINVAL);
  CHECK_ERR(try_map(s->fd, s->from + l->bytes, l->bytes, PROT_READ, MAP_SHARED), EINVAL);
}

static void a_client_maps_its_queue_as_the_layout_says(void) {
  struct Mapped m;
  mapped_make(&m);
  const struct Side client = {.name = "client", .fd = m.queue.fd, .writes_submission = true};
  each_part_has_the_protections_of_its_side(&client, &m.queue.layout);
  static const uint64_t offsets[] = {1ull << 24, 1ull << 32, 1ull << 40, 1ull << 56, (1ull << 63) - 4096};
  for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
    const int result = try_map(m.queue.fd, offsets[i], page, PROT_READ, MAP_SHARED);
    if (!CHECK(result == -EINVAL || result == -EOVERFLOW)) note("offset %#jx", (uintmax_t)offsets[i]);
  }
  device_remove(&m.device);
}

static void a_worker_maps_a_queue_as_the_layout_says(void) {
  struct Mapped m;
  mapped_make(&m);
  const struct Side worker = {.name = "worker", .fd = m.device.worker, .from = m.at_worker.info.map_offset};
  each_part_has_the_protections_of_its_side(&worker, &m.queue.layout);
  // Queues that it has not mapped, or that nobody made.
  struct ClientQueue other;
  client_queue_open(&other, m.drm, 8);
  CHECK_ERR(try_map(m.device.worker, (uint64_t)other.number << 24, page, PROT_READ, MAP_SHARED), ENOENT);
  CHECK_ERR(try_map(m.device.worker, 0, page, PROT_READ, MAP_SHARED), ENOENT);
  CHECK_ERR(try_map(m.device.worker, 1ull << 55, page, PROT_READ, MAP_SHARED), ENOENT);
  static const uint64_t offsets[] = {1ull << 57, (1ull << 63) - 4096};
  for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
    const int result = try_map(m.device.worker, offsets[i], page, PROT_READ, MAP_SHARED);
    if (!CHECK(result == -EINVAL || result == -EOVERFLOW || result == -ENOENT))
      note("offset %#jx", (uintmax_t)offsets[i]);
  }
  const uint64_t gone = m.at_worker.info.map_offset;
  worker_queue_unmap(&m.at_worker);
  CHECK_ERR(try_map(m.device.worker, gone, page, PROT_READ, MAP_SHARED), ENOENT);
  device_remove(&m.device);
}

// ---- what can be made of a mapping later

static int protect(const void* at, size_t bytes, int protection) {
  return mprotect((void*)(uintptr_t)at, bytes, protection) == 0 ? 0 : -errno;
}

static void read_only_parts_never_become_writable(void) {
  struct Mapped m;
  mapped_make(&m);
  const struct {
    const void* at;
    size_t bytes;
    bool writable;
  } parts[] = {
      {m.queue.submission, m.queue.layout.submission_bytes, true},
      {m.queue.completion, m.queue.layout.completion_bytes, false},
      {m.queue.state, m.queue.layout.state_bytes, false},
      {m.at_worker.submission, m.queue.layout.submission_bytes, false},
      {m.at_worker.completion, m.queue.layout.completion_bytes, true},
      {m.at_worker.state, m.queue.layout.state_bytes, false},
  };
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    CHECK_EQ(protect(parts[i].at, parts[i].bytes, PROT_READ | PROT_WRITE), parts[i].writable ? 0 : -EACCES);
    CHECK_EQ(protect(parts[i].at, page, PROT_WRITE), parts[i].writable ? 0 : -EACCES);
    CHECK_ERR(protect(parts[i].at, page, PROT_READ | PROT_EXEC), EACCES);
    CHECK_ERR(protect(parts[i].at, page, PROT_EXEC), EACCES);
    CHECK_OK(protect(parts[i].at, parts[i].bytes, PROT_NONE));
    CHECK_OK(protect(parts[i].at, parts[i].bytes, PROT_READ));
  }
  // Nor by way of /proc/self/mem, or of another process's memory.
  char byte = 'x';
  const int memory = REQUIRE_FD(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
  CHECK_EQ(pwrite(memory, &byte, 1, (off_t)(uintptr_t)m.queue.state), -1);
  struct iovec from = {.iov_base = &byte, .iov_len = 1};
  struct iovec to = {.iov_base = (void*)(uintptr_t)m.queue.completion, .iov_len = 1};
  CHECK_EQ(process_vm_writev(getpid(), &from, 1, &to, 1, 0), -1);
  CHECK_EQ(queue_state(&m.queue), MLRING_STATE_ACTIVE);
  device_remove(&m.device);
}

static int grow(const void* at, size_t bytes, size_t more) {
  void* now = mremap((void*)(uintptr_t)at, bytes, bytes + more, MREMAP_MAYMOVE);
  return now == MAP_FAILED ? -errno : 0;
}

static void mappings_move_and_shrink_but_never_grow(void) {
  struct Mapped m;
  mapped_make(&m);
  const struct mlring_layout* l = &m.queue.layout;
  CHECK_ERR(grow(m.queue.submission, l->submission_bytes, page), EFAULT);
  CHECK_ERR(grow(m.queue.completion, l->completion_bytes, l->completion_bytes), EFAULT);
  CHECK_ERR(grow(m.queue.state, l->state_bytes, page), EFAULT);
  CHECK_ERR(grow(m.at_worker.completion, l->completion_bytes, page), EFAULT);
  CHECK_ERR(grow(m.at_worker.state, l->state_bytes, page), EFAULT);
  // A second view of shared pages (old size 0) may be had only of the same ones.
  void* again = mremap((void*)(uintptr_t)m.queue.state, 0, 2 * page, MREMAP_MAYMOVE);
  CHECK(again == MAP_FAILED);

  void* room = mmap(NULL, l->submission_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(room != MAP_FAILED);
  void* moved =
      mremap(m.queue.submission, l->submission_bytes, l->submission_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room);
  REQUIRE(moved == room);
  m.queue.submission = moved;
  const uint64_t last = submit_nops(&m.queue, 10);
  CHECK_OK(ring(&m.queue));
  CHECK_EQ(serve(&m.at_worker), 10);
  CHECK_OK(wait_within(&m.queue, last, 30));
  // The middle of it gone, both ends are what they were.
  REQUIRE_AS(l->submission_bytes, >=, 3 * page);
  char* bytes = moved;
  CHECK_OK(munmap(bytes + page, page));
  CHECK_EQ(MLRING_LOAD(&m.queue.submission->tail), (uint32_t)m.queue.next);
  bytes[2 * page] = 'e';
  CHECK_OK(mprotect(bytes + 2 * page, page, PROT_READ));
  CHECK_EQ(bytes[2 * page], 'e');
  device_remove(&m.device);
}

// ---- memory

static void memory_is_mapped_by_its_own_offset_only(void) {
  struct Mapped m;
  struct drm_mlaccel_bo_info host, memory, next;
  uint32_t host_handle, memory_handle, next_handle;
  mapped_make(&m);
  REQUIRE_OK(host_bo(m.drm, 3 * page, &host_handle));
  REQUIRE_OK(host_bo(m.drm, page, &next_handle));
  REQUIRE_OK(device_bo(m.drm, m.queue.context, 2 * page, 0, &memory_handle));
  REQUIRE_OK(bo_info(m.drm, host_handle, &host));
  REQUIRE_OK(bo_info(m.drm, next_handle, &next));
  REQUIRE_OK(bo_info(m.drm, memory_handle, &memory));
  CHECK_EQ(memory.map_offset, 0);
  CHECK_OK(try_map(m.drm, host.map_offset, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED));
  CHECK_OK(try_map(m.drm, host.map_offset, page, PROT_READ, MAP_SHARED));
  CHECK_ERR(try_map(m.drm, host.map_offset, 4 * page, PROT_READ, MAP_SHARED), EINVAL);
  CHECK_ERR(try_map(m.drm, host.map_offset, 1ull << 40, PROT_READ, MAP_SHARED), EINVAL);
  CHECK_ERR(try_map(m.drm, host.map_offset, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE), EINVAL);
  CHECK(try_map(m.drm, 0, page, PROT_READ, MAP_SHARED) != 0);
  CHECK(try_map(m.drm, memory.pool_offset, page, PROT_READ, MAP_SHARED) != 0);
  // Every offset near the two: never more than what is behind a handle.
  for (int64_t pages = -8; pages <= 8; pages++) {
    const uint64_t offset = host.map_offset + (uint64_t)(pages * (int64_t)page);
    const bool inside = pages >= 0 && pages < 3;
    const bool in_next = offset == next.map_offset;
    const int result = try_map(m.drm, offset, page, PROT_READ, MAP_SHARED);
    if (result == 0) CHECK(inside || in_next);
    if (inside && pages == 0) CHECK_OK(result);
  }
  // Grown, it would be somebody else's.
  char* at = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, m.drm, (off_t)host.map_offset);
  REQUIRE(at != MAP_FAILED);
  CHECK_ERR(grow(at, 3 * page, page), EFAULT);

  // Without handle no more mappings; the one that is there stays.
  at[0] = 'h';
  CHECK_OK(gem_close(m.drm, host_handle));
  CHECK(try_map(m.drm, host.map_offset, page, PROT_READ, MAP_SHARED) != 0);
  CHECK_EQ(at[0], 'h');
  at[2 * page] = 't';
  CHECK_OK(munmap(at, 3 * page));
  device_remove(&m.device);
}

static void device_memory_has_no_cpu_mapping(void) {
  struct Mapped m;
  uint32_t handle;
  int dmabuf = -1;
  mapped_make(&m);
  REQUIRE_OK(device_bo(m.drm, m.queue.context, 4 * page, 0, &handle));
  const int exported = prime_export(m.drm, handle, &dmabuf);
  if (exported == 0) {
    CHECK(try_map(dmabuf, 0, page, PROT_READ, MAP_SHARED) != 0);
    CHECK(try_map(dmabuf, 0, page, PROT_READ | PROT_WRITE, MAP_SHARED) != 0);
    // Nor do other drivers get at it.
    const int vgem = open_driver("vgem");
    uint32_t imported;
    if (vgem >= 0) CHECK(prime_import(vgem, dmabuf, &imported) != 0);
  }
  device_remove(&m.device);
}

static const struct Case cases[] = {
    {"a_client_maps_its_queue_as_the_layout_says", a_client_maps_its_queue_as_the_layout_says, 0},
    {"a_worker_maps_a_queue_as_the_layout_says", a_worker_maps_a_queue_as_the_layout_says, 0},
    {"read_only_parts_never_become_writable", read_only_parts_never_become_writable, 0},
    {"mappings_move_and_shrink_but_never_grow", mappings_move_and_shrink_but_never_grow, 0},
    {"memory_is_mapped_by_its_own_offset_only", memory_is_mapped_by_its_own_offset_only, 0},
    {"device_memory_has_no_cpu_mapping", device_memory_has_no_cpu_mapping, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
