// io_uring as bare as its system calls: a few requests at a time, one thread.
#pragma once

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct Uring {
  int fd;
  unsigned *submission_tail, *submission_mask, *submission_array;
  unsigned *completion_head, *completion_tail, *completion_mask;
  struct io_uring_sqe* entries;
  struct io_uring_cqe* completions;
  struct {
    void* at;
    size_t bytes;
  } mappings[3];
};

// 0, or -errno where the kernel has none.
int uring_open(struct Uring* u);
void uring_submit_poll(struct Uring* u, int fd, uint64_t user_data);
void uring_submit_read(struct Uring* u, int fd, void* to, uint32_t bytes, uint64_t user_data);
// Drops its mappings, which keep it alive as its descriptor does.
void uring_forget(struct Uring* u);
// One of its fixed files, which it holds. 0 or -errno.
int uring_register_file(struct Uring* u, int fd);
// The next completion; with `wait` it comes. False: there is none.
bool uring_next(struct Uring* u, bool wait, struct io_uring_cqe* completion);
