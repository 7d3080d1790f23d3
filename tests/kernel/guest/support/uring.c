#include "support/uring.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/tap.h"

static char* map(struct Uring* u, int number, uint64_t offset, size_t bytes) {
  void* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, (off_t)offset);
  REQUIRE(at != MAP_FAILED);
  u->mappings[number].at = at;
  u->mappings[number].bytes = bytes;
  return at;
}

void uring_forget(struct Uring* u) {
  for (int i = 0; i < 3; i++) munmap(u->mappings[i].at, u->mappings[i].bytes);
}

int uring_open(struct Uring* u) {
  struct io_uring_params p;
  memset(&p, 0, sizeof p);
  u->fd = (int)syscall(SYS_io_uring_setup, 8, &p);
  if (u->fd < 0) return -errno;
  char* submission = map(u, 0, IORING_OFF_SQ_RING, p.sq_off.array + p.sq_entries * sizeof(unsigned));
  char* completion = map(u, 1, IORING_OFF_CQ_RING, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe));
  u->submission_tail = (unsigned*)(submission + p.sq_off.tail);
  u->submission_mask = (unsigned*)(submission + p.sq_off.ring_mask);
  u->submission_array = (unsigned*)(submission + p.sq_off.array);
  u->completion_head = (unsigned*)(completion + p.cq_off.head);
  u->completion_tail = (unsigned*)(completion + p.cq_off.tail);
  u->completion_mask = (unsigned*)(completion + p.cq_off.ring_mask);
  u->completions = (struct io_uring_cqe*)(completion + p.cq_off.cqes);
  u->entries = (struct io_uring_sqe*)map(u, 2, IORING_OFF_SQES, p.sq_entries * sizeof(struct io_uring_sqe));
  return 0;
}

static void submit(struct Uring* u, const struct io_uring_sqe* entry) {
  const unsigned tail = *u->submission_tail, index = tail & *u->submission_mask;
  u->entries[index] = *entry;
  u->submission_array[index] = index;
  __atomic_store_n(u->submission_tail, tail + 1, __ATOMIC_RELEASE);
  REQUIRE_EQ(syscall(SYS_io_uring_enter, u->fd, 1, 0, 0, NULL, 0), 1);
}

void uring_submit_poll(struct Uring* u, int fd, uint64_t user_data) {
  struct io_uring_sqe entry;
  memset(&entry, 0, sizeof entry);
  entry.opcode = IORING_OP_POLL_ADD;
  entry.fd = fd;
  entry.poll32_events = POLLIN;
  entry.user_data = user_data;
  submit(u, &entry);
}

void uring_submit_read(struct Uring* u, int fd, void* to, uint32_t bytes, uint64_t user_data) {
  struct io_uring_sqe entry;
  memset(&entry, 0, sizeof entry);
  entry.opcode = IORING_OP_READ;
  entry.fd = fd;
  entry.off = (uint64_t)-1;
  entry.addr = (uintptr_t)to;
  entry.len = bytes;
  entry.user_data = user_data;
  submit(u, &entry);
}

int uring_register_file(struct Uring* u, int fd) {
  return syscall(SYS_io_uring_register, u->fd, IORING_REGISTER_FILES, &fd, 1) < 0 ? -errno : 0;
}

bool uring_next(struct Uring* u, bool wait, struct io_uring_cqe* completion) {
  const unsigned head = *u->completion_head;
  while (head == __atomic_load_n(u->completion_tail, __ATOMIC_ACQUIRE)) {
    if (!wait) return false;
    syscall(SYS_io_uring_enter, u->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
  }
  *completion = u->completions[head & *u->completion_mask];
  __atomic_store_n(u->completion_head, head + 1, __ATOMIC_RELEASE);
  return true;
}
