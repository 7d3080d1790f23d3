// Host memory as a client has it: made, mapped, slept on, read into by devices, and let go of in every order.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

#ifndef SYS_futex
#define SYS_futex SYS_futex_time64
#endif

static const size_t page = 4096;

static uint64_t host_bytes_used(int drm) {
  struct drm_mlaccel_dev_query q = {.flags = 0};
  REQUIRE_OK(dev_query(drm, &q));
  return q.user_host_bytes;
}

static void* try_map(int drm, uint32_t handle, size_t bytes, int protection) {
  struct drm_mlaccel_bo_info info;
  REQUIRE_OK(bo_info(drm, handle, &info));
  return mmap(NULL, bytes, protection, MAP_SHARED, drm, (off_t)info.map_offset);
}

static char* map(int drm, uint32_t handle, size_t bytes) {
  void* at = try_map(drm, handle, bytes, PROT_READ | PROT_WRITE);
  REQUIRE(at != MAP_FAILED);
  return at;
}

// A BO of that many bytes and its mapping.
static char* mapped_bo(int drm, size_t bytes, uint32_t* handle) {
  REQUIRE_OK(host_bo(drm, bytes, handle));
  return map(drm, *handle, bytes);
}

static void the_node_is_of_the_kind_that_the_kernel_has(void) {
  struct Device d;
  char name[64];
  device_setup(&d);
  const int drm = device_open(&d);
  const char* folder = kernel_version() >= 602 ? "/dev/accel/accel" : "/dev/dri/renderD";
  note("%s", d.path);
  CHECK(strncmp(d.path, folder, strlen(folder)) == 0);
  REQUIRE_OK(drm_driver_name(drm, name, sizeof name));
  CHECK(strcmp(name, MLACCEL_DRIVER_NAME) == 0);
  device_remove(&d);
}

static void every_call_works_on_the_node(void) {
  struct Device d;
  device_setup(&d);
  const int drm = device_open(&d);
  struct drm_mlaccel_dev_query query = {.flags = 0};
  CHECK_OK(dev_query(drm, &query));
  CHECK_EQ(query.abi, MLACCEL_ABI);
  CHECK_EQ(query.device, d.number);
  CHECK_EQ(query.generation, d.generation);
  CHECK_EQ(query.state, MLACCEL_DEVICE_RUNNING);
  CHECK(strcmp(query.name, d.name) == 0);
  CHECK(strcmp(query.backend, "fake") == 0);
  CHECK_EQ(query.memory_bytes, 64 << 20);

  uint32_t host, memory, syncobj;
  struct drm_mlaccel_bo_info info;
  CHECK_OK(host_bo(drm, 1, &host));
  CHECK_OK(bo_info(drm, host, &info));
  CHECK_EQ(info.size, page);
  CHECK_EQ(info.flags, MLACCEL_BO_HOST);
  CHECK_EQ(info.state, MLACCEL_BO_RESIDENT);

  struct ClientQueue q;
  client_queue_open(&q, drm, 4);
  CHECK_OK(device_bo(drm, q.context, page + 1, 0, &memory));
  CHECK_OK(bo_info(drm, memory, &info));
  CHECK_EQ(info.size, 2 * page);
  CHECK_EQ(info.flags, MLACCEL_BO_DEVICE);
  CHECK_EQ(info.map_offset, 0);

  struct FakeWorker worker = {.on_free = NULL};
  fake_worker_start(&worker, d.worker, d.generation);
  fake_worker_add(&worker, q.fd);
  const uint64_t last = submit_nops(&q, 3);
  CHECK_OK(ring(&q));
  CHECK_OK(wait_within(&q, last, 20));
  CHECK_OK(syncobj_create(drm, 0, &syncobj));
  CHECK_OK(arm_point(drm, q.number, last, syncobj, 1));
  CHECK_OK(timeline_wait(drm, syncobj, 1, now_ns() + SECONDS(20), 0));
  struct drm_mlaccel_ctx_state state;
  CHECK_OK(ctx_state(drm, q.context, &state));
  CHECK_EQ(state.state, 0);
  CHECK_EQ(state.queues, 1);
  CHECK_EQ(state.completed, 3);
  CHECK_EQ(state.memory_bytes, 2 * page);
  client_queue_close(&q);
  CHECK_OK(ctx_destroy(drm, q.context));
  CHECK_OK(gem_close(drm, memory));
  CHECK_OK(gem_close(drm, host));
  fake_worker_stop(&worker);
  device_remove(&d);
}

static void new_memory_is_zero_and_of_whole_pages(void) {
  static const size_t sizes[] = {1, 4095, 4096, 4097, 65536, 1000000};
  struct Device d;
  device_setup(&d);
  const int drm = device_open(&d);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    // Twice, so that what the first one wrote would show in the second.
    for (int turn = 0; turn < 2; turn++) {
      uint32_t handle;
      const size_t bytes = (sizes[i] + page - 1) / page * page;
      char* at = mapped_bo(drm, bytes, &handle);
      size_t nonzero = 0;
      for (size_t k = 0; k < bytes; k++) nonzero += at[k] != 0;
      CHECK_EQ(nonzero, 0u);
      memset(at, 0xa5, bytes);
      munmap(at, bytes);
      CHECK_OK(gem_close(drm, handle));
    }
  }
  CHECK_EQ(host_bytes_used(drm), 0);
  device_remove(&d);
}

// ---- every order

enum { step_handle, step_mapping, step_dmabuf, step_dmabuf_mapping, step_file, steps };

struct Held {
  int drm, dmabuf;
  uint32_t handle;
  char* at;
  char* dmabuf_at;
};

static const size_t held_bytes = 4 * 4096;

static void hold(struct Held* h, const struct Device* d, char content) {
  h->drm = device_open(d);
  h->at = mapped_bo(h->drm, held_bytes, &h->handle);
  memset(h->at, content, held_bytes);
  REQUIRE_OK(prime_export(h->drm, h->handle, &h->dmabuf));
  h->dmabuf_at = mmap(NULL, held_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, h->dmabuf, 0);
  REQUIRE(h->dmabuf_at != MAP_FAILED);
}

static void let_go(struct Held* h, int step) {
  switch (step) {
    case step_handle:
      // Gone already with the file.
      if (h->drm >= 0) CHECK_OK(gem_close(h->drm, h->handle));
      break;
    case step_mapping:
      CHECK_OK(munmap(h->at, held_bytes));
      h->at = NULL;
      break;
    case step_dmabuf: CHECK_OK(close(h->dmabuf)); break;
    case step_dmabuf_mapping:
      CHECK_OK(munmap(h->dmabuf_at, held_bytes));
      h->dmabuf_at = NULL;
      break;
    default: CHECK_OK(close(h->drm)); h->drm = -1;
  }
}

static void check_content(const struct Held* h, char content) {
  for (size_t k = 0; k < held_bytes; k += page) {
    if (h->at != NULL) CHECK_EQ(h->at[k], content);
    if (h->dmabuf_at != NULL) CHECK_EQ(h->dmabuf_at[k], content);
  }
}

static void permute(int* order, int at, void (*visit)(const int*, void*), void* argument) {
  if (at == steps) {
    visit(order, argument);
    return;
  }
  for (int i = at; i < steps; i++) {
    int swap = order[at];
    order[at] = order[i];
    order[i] = swap;
    permute(order, at + 1, visit, argument);
    swap = order[at];
    order[at] = order[i];
    order[i] = swap;
  }
}

static void close_in_order(const int* order, void* argument) {
  struct Held h;
  hold(&h, argument, 'a');
  for (int i = 0; i < steps; i++) {
    let_go(&h, order[i]);
    check_content(&h, (char)('a' + i));
    const char next = (char)('a' + i + 1);
    if (h.at != NULL)
      memset(h.at, next, held_bytes);
    else if (h.dmabuf_at != NULL)
      memset(h.dmabuf_at, next, held_bytes);
    check_content(&h, next);
  }
}

static void a_buffer_is_let_go_of_in_every_order(void) {
  struct Device d;
  int order[steps] = {step_handle, step_mapping, step_dmabuf, step_dmabuf_mapping, step_file};
  device_setup(&d);
  const int watcher = device_open(&d);
  permute(order, 0, close_in_order, &d);
  CHECK(EVENTUALLY(host_bytes_used(watcher) == 0));
  CHECK_EQ(host_bytes_used(watcher), 0);
  device_remove(&d);
}

// ---- what get_user_pages() is for

struct Sleeper {
  int drm;
  uint32_t handle;
  int dmabuf;
  uint32_t* word;
};

static long futex(uint32_t* word, int operation, uint32_t value) {
  const long result = syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
  return result < 0 ? -errno : result;
}

// Says 1, sleeps until it is told 2, says 3.
static void sleep_on_word(uint32_t* word) {
  __atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 1) {
    const long result = futex(word, FUTEX_WAIT, 1);
    if (result != 0 && result != -EAGAIN && result != -EINTR) {
      CHECK_EQ(result, 0);
      return;
    }
  }
  CHECK_EQ(__atomic_load_n(word, __ATOMIC_SEQ_CST), 2u);
  __atomic_store_n(word, 3, __ATOMIC_SEQ_CST);
}

static void sleep_on_inherited(void* argument) {
  const struct Sleeper* s = argument;
  sleep_on_word(s->word);
}

// Another process, another file, another mapping of the same pages.
static void sleep_on_imported(void* argument) {
  const struct Sleeper* s = argument;
  uint32_t handle;
  REQUIRE_OK(prime_import(s->drm, s->dmabuf, &handle));
  sleep_on_word((uint32_t*)map(s->drm, handle, page));
}

static void sleep_on_dmabuf(void* argument) {
  const struct Sleeper* s = argument;
  void* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, s->dmabuf, 0);
  REQUIRE(at != MAP_FAILED);
  sleep_on_word(at);
}

static void wake_a_child(void (*body)(void*), struct Sleeper* s) {
  volatile uint32_t* word = s->word;
  *word = 0;
  const pid_t child = fork_child(body, s);
  REQUIRE(EVENTUALLY(*word == 1));
  // It may be on its way to sleep still: a wake that finds nobody is repeated.
  __atomic_store_n(s->word, 2, __ATOMIC_SEQ_CST);
  CHECK(EVENTUALLY(futex(s->word, FUTEX_WAKE, 1) == 1 || *word == 3));
  CHECK_OK(wait_child(child, 20));
  CHECK_EQ(*word, 3u);
}

static void processes_sleep_and_wake_on_a_buffer(void) {
  struct Device d;
  struct Sleeper s;
  device_setup(&d);
  const int drm = device_open(&d);
  s.word = (uint32_t*)mapped_bo(drm, page, &s.handle);
  REQUIRE_OK(prime_export(drm, s.handle, &s.dmabuf));
  s.drm = device_open(&d);
  // A futex that nobody can have: the page is looked up all the same.
  CHECK_EQ(futex(s.word, FUTEX_WAKE, 1), 0);
  CHECK_EQ(futex(s.word, FUTEX_WAIT, 1), -EAGAIN);
  wake_a_child(sleep_on_inherited, &s);
  wake_a_child(sleep_on_imported, &s);
  wake_a_child(sleep_on_dmabuf, &s);
  device_remove(&d);
}

// A block device that can be written over. An fd, or the case is skipped.
static int scratch_disk(void) {
  static const char* const candidates[] = {"/dev/ram0", "/dev/zram0", "/dev/nullb0"};
  for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
    const int fd = open(candidates[i], O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd >= 0) return fd;
  }
  skip("no disk to write over: modprobe brd");
}

static void fill(char* at, size_t bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes; i += sizeof seed) {
    const uint64_t word = next_random(&seed);
    memcpy(at + i, &word, sizeof word);
  }
}

static void disks_read_into_a_buffer_past_the_page_cache(void) {
  const size_t bytes = 64 * page;
  struct Device d;
  uint32_t from_handle, to_handle;
  device_setup(&d);
  const int drm = device_open(&d), disk = scratch_disk();
  char* from = mapped_bo(drm, bytes, &from_handle);
  char* to = mapped_bo(drm, bytes, &to_handle);
  fill(from, bytes, test_seed());
  // The target's pages are not there yet: the read faults them in.
  CHECK_EQ(pwrite(disk, from, bytes, 0), (ssize_t)bytes);
  CHECK_EQ(pread(disk, to, bytes, 0), (ssize_t)bytes);
  CHECK(memcmp(from, to, bytes) == 0);
  // At an offset, which lies in the middle of a page of the disk.
  CHECK_EQ(pread(disk, to + 3 * page, 2 * page, (off_t)(7 * page)), (ssize_t)(2 * page));
  CHECK(memcmp(to + 3 * page, from + 7 * page, 2 * page) == 0);
  device_remove(&d);
}

static void other_processes_read_a_buffer_by_pid(void) {
  struct Device d;
  uint32_t handle;
  char copy[4096];
  device_setup(&d);
  const int drm = device_open(&d);
  char* at = mapped_bo(drm, 2 * page, &handle);
  fill(at, 2 * page, test_seed());
  struct iovec here = {.iov_base = copy, .iov_len = sizeof copy};
  struct iovec there = {.iov_base = at + 100, .iov_len = sizeof copy};
  CHECK_EQ(process_vm_readv(getpid(), &here, 1, &there, 1, 0), (ssize_t)sizeof copy);
  CHECK(memcmp(copy, at + 100, sizeof copy) == 0);

  int pipes[2];
  REQUIRE_OK(pipe(pipes));
  CHECK_EQ(vmsplice(pipes[1], &(struct iovec){.iov_base = at, .iov_len = page}, 1, 0), (ssize_t)page);
  CHECK_EQ(read(pipes[0], copy, sizeof copy), (ssize_t)page);
  CHECK(memcmp(copy, at, page) == 0);
  device_remove(&d);
}

// ---- io_uring, without its library: 32-bit programs have none

struct Ring {
  int fd;
  struct io_uring_params params;
  char* queues;
  struct io_uring_sqe* entries;
};

static void ring_setup(struct Ring* r) {
  memset(r, 0, sizeof *r);
  r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->params);
  if (r->fd < 0 && errno == ENOSYS) skip("no io_uring");
  REQUIRE_AS(r->fd, >=, 0);
  const size_t submissions = r->params.sq_off.array + r->params.sq_entries * sizeof(uint32_t);
  const size_t completions = r->params.cq_off.cqes + r->params.cq_entries * sizeof(struct io_uring_cqe);
  const size_t bytes = submissions > completions ? submissions : completions;
  r->queues = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
  r->entries = mmap(NULL, r->params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
  REQUIRE(r->queues != MAP_FAILED && (void*)r->entries != MAP_FAILED);
}

static int ring_run(struct Ring* r, const struct io_uring_sqe* entry) {
  uint32_t* tail = (uint32_t*)(r->queues + r->params.sq_off.tail);
  const uint32_t at = *tail & (r->params.sq_entries - 1);
  r->entries[at] = *entry;
  ((uint32_t*)(r->queues + r->params.sq_off.array))[at] = at;
  __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
  REQUIRE_EQ(syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0), 1);
  uint32_t* head = (uint32_t*)(r->queues + r->params.cq_off.head);
  const struct io_uring_cqe* answers = (const struct io_uring_cqe*)(r->queues + r->params.cq_off.cqes);
  const int result = answers[*head & (r->params.cq_entries - 1)].res;
  __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
  return result;
}

static void io_uring_takes_a_buffer_as_a_fixed_one(void) {
  const size_t bytes = 16 * page;
  struct Device d;
  struct Ring r;
  uint32_t from_handle, to_handle;
  device_setup(&d);
  const int drm = device_open(&d);
  char* from = mapped_bo(drm, bytes, &from_handle);
  char* to = mapped_bo(drm, bytes, &to_handle);
  ring_setup(&r);
  struct iovec buffer = {.iov_base = to, .iov_len = bytes};
  const int registered = (int)syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &buffer, 1);
  if (kernel_version() < 612) {
    // Only shmem's and hugetlb's own mappings there; before that is decided nothing is pinned.
    CHECK_EQ(registered, -1);
    CHECK_EQ(errno, EOPNOTSUPP);
    device_remove(&d);
    return;
  }
  REQUIRE_EQ(registered, 0);
  const int disk = scratch_disk();
  fill(from, bytes, test_seed());
  REQUIRE_EQ(pwrite(disk, from, bytes, 0), (ssize_t)bytes);
  const struct io_uring_sqe entry = {
      .opcode = IORING_OP_READ_FIXED, .fd = disk, .addr = (uintptr_t)to, .len = (uint32_t)bytes, .buf_index = 0};
  CHECK_EQ(ring_run(&r, &entry), (int)bytes);
  CHECK(memcmp(from, to, bytes) == 0);
  // Pinned pages outlive the handle and the mapping.
  CHECK_OK(munmap(to, bytes));
  CHECK_OK(gem_close(drm, to_handle));
  CHECK_EQ(host_bytes_used(drm), bytes);
  close(r.fd);
  device_remove(&d);
}

// ---- mappings in pieces

static const size_t piece_pages = 8;

static char* numbered_pages(int drm, uint32_t* handle) {
  char* at = mapped_bo(drm, piece_pages * page, handle);
  for (size_t i = 0; i < piece_pages; i++) memset(at + i * page, (int)('0' + i), page);
  return at;
}

static void check_pages(const char* at, size_t first, size_t count) {
  for (size_t i = 0; i < count; i++) {
    CHECK_EQ(at[i * page], (char)('0' + first + i));
    CHECK_EQ(at[i * page + page - 1], (char)('0' + first + i));
  }
}

static void a_mapping_in_pieces_shows_the_right_pages(void) {
  struct Device d;
  uint32_t handle;
  device_setup(&d);
  const int drm = device_open(&d);
  char* at = numbered_pages(drm, &handle);
  CHECK_OK(munmap(at + 3 * page, 2 * page));
  check_pages(at, 0, 3);
  check_pages(at + 5 * page, 5, 3);
  // The pieces' page tables go, and come back by faults.
  CHECK_OK(madvise(at, 3 * page, MADV_DONTNEED));
  CHECK_OK(madvise(at + 5 * page, 3 * page, MADV_DONTNEED));
  check_pages(at, 0, 3);
  check_pages(at + 5 * page, 5, 3);
  CHECK_OK(mprotect(at + page, page, PROT_READ));
  check_pages(at, 0, 3);
  at[0] = at[page - 1] = 'x';
  at[2 * page] = 'y';
  CHECK_OK(mprotect(at + page, page, PROT_READ | PROT_WRITE));
  check_pages(at + page, 1, 1);

  // A piece that moves keeps its pages.
  char* room = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char* moved = mremap(at + 5 * page, 3 * page, 3 * page, MREMAP_MAYMOVE | MREMAP_FIXED, room);
  REQUIRE(moved == room);
  check_pages(moved, 5, 3);

  // The handle is gone, and so is the file: the pieces are not.
  CHECK_OK(gem_close(drm, handle));
  close(drm);
  CHECK_OK(madvise(moved, 3 * page, MADV_DONTNEED));
  check_pages(moved, 5, 3);
  device_remove(&d);
}

static void read_piece(void* argument) {
  char* at = argument;
  check_pages(at + page, 1, 7);
  at[0] = 'c';
}

static void a_child_shares_the_mapping(void) {
  struct Device d;
  uint32_t handle;
  device_setup(&d);
  const int drm = device_open(&d);
  char* at = numbered_pages(drm, &handle);
  CHECK_OK(wait_child(fork_child(read_piece, at), 20));
  CHECK_EQ(at[0], 'c');
  device_remove(&d);
}

static void only_who_has_a_handle_maps(void) {
  struct Device d;
  struct drm_mlaccel_bo_info info;
  uint32_t handle;
  device_setup(&d);
  const int mine = device_open(&d), other = device_open(&d);
  REQUIRE_OK(host_bo(mine, 2 * page, &handle));
  REQUIRE_OK(bo_info(mine, handle, &info));
  CHECK(mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, other, (off_t)info.map_offset) == MAP_FAILED);
  CHECK_EQ(errno, EACCES);
  CHECK(mmap(NULL, 4 * page, PROT_READ, MAP_SHARED, mine, (off_t)info.map_offset) == MAP_FAILED);
  CHECK(try_map(mine, handle, 2 * page, PROT_READ) != MAP_FAILED);
  // A part of it, from its start.
  CHECK(try_map(mine, handle, page, PROT_READ) != MAP_FAILED);
  struct drm_mlaccel_bo_info missing;
  CHECK_ERR(bo_info(other, handle, &missing), ENOENT);
  device_remove(&d);
}

struct Toucher {
  char* at;
  int socket;
};

static void touch_when_told(void* argument) {
  const struct Toucher* t = argument;
  REQUIRE_EQ(hear(t->socket), 't');
  for (size_t i = 0; i < 1 << 20; i += page) t->at[i] = 1;
}

// Where the machine promises no more than it has: what can't be held is refused to who asks, not to who touches it.
static void what_was_made_can_be_touched_without_overcommit(void) {
  struct Device d;
  uint32_t handle, more;
  int sockets[2];
  device_setup(&d);
  socket_pair(sockets);
  const int drm = device_open(&d);
  struct Toucher t = {mapped_bo(drm, 1 << 20, &handle), sockets[1]};
  const pid_t toucher = fork_child(touch_when_told, &t);
  REQUIRE_OK(write_text("/proc/sys/vm/overcommit_kbytes", "1024"));
  REQUIRE_OK(write_text("/proc/sys/vm/overcommit_memory", "2"));
  const int refused = host_bo(drm, 1 << 20, &more);
  tell(sockets[0], 't');
  const int touched = wait_child(toucher, 20);
  REQUIRE_OK(write_text("/proc/sys/vm/overcommit_memory", "0"));
  REQUIRE_OK(write_text("/proc/sys/vm/overcommit_ratio", "50"));
  CHECK_ERR(refused, ENOMEM);
  CHECK_OK(touched);
  CHECK_EQ(host_bytes_used(drm), 1 << 20);
  device_remove(&d);
}

static const struct Case cases[] = {
    {"the_node_is_of_the_kind_that_the_kernel_has", the_node_is_of_the_kind_that_the_kernel_has, 0},
    {"every_call_works_on_the_node", every_call_works_on_the_node, 0},
    {"new_memory_is_zero_and_of_whole_pages", new_memory_is_zero_and_of_whole_pages, 0},
    {"a_buffer_is_let_go_of_in_every_order", a_buffer_is_let_go_of_in_every_order, 0},
    {"processes_sleep_and_wake_on_a_buffer", processes_sleep_and_wake_on_a_buffer, 0},
    {"disks_read_into_a_buffer_past_the_page_cache", disks_read_into_a_buffer_past_the_page_cache, 0},
    {"other_processes_read_a_buffer_by_pid", other_processes_read_a_buffer_by_pid, 0},
    {"io_uring_takes_a_buffer_as_a_fixed_one", io_uring_takes_a_buffer_as_a_fixed_one, 0},
    {"a_mapping_in_pieces_shows_the_right_pages", a_mapping_in_pieces_shows_the_right_pages, 0},
    {"a_child_shares_the_mapping", a_child_shares_the_mapping, 0},
    {"only_who_has_a_handle_maps", only_who_has_a_handle_maps, 0},
    {"what_was_made_can_be_touched_without_overcommit", what_was_made_can_be_touched_without_overcommit, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
