#include "support/worker_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/process.h"
#include "support/tap.h"

static void* map_part(int fd, uint64_t offset, uint64_t bytes, int protection) {
  void* at = mmap(NULL, bytes, protection, MAP_SHARED, fd, (off_t)offset);
  return at == MAP_FAILED ? NULL : at;
}

int worker_queue_try_map(struct WorkerQueue* q, int worker, uint32_t generation, int queue_fd) {
  memset(q, 0, sizeof *q);
  const int result = queue_map(worker, queue_fd, &q->info);
  if (result != 0) return result;
  q->worker = worker;
  q->number = q->info.queue;
  q->generation = generation;
  q->taken = q->completed = MLRING_START;
  struct mlring_layout* l = &q->layout;
  REQUIRE(mlring_compute_layout(l, q->info.depth, (uint32_t)sysconf(_SC_PAGESIZE)));
  CHECK_EQ(q->info.bytes, l->bytes);
  const uint64_t from = q->info.map_offset;
  q->submission = map_part(worker, from + l->submission_offset, l->submission_bytes, PROT_READ);
  q->completion = map_part(worker, from + l->completion_offset, l->completion_bytes, PROT_READ | PROT_WRITE);
  q->state = map_part(worker, from + l->state_offset, l->state_bytes, PROT_READ);
  REQUIRE(q->submission != NULL && q->completion != NULL && q->state != NULL);
  return 0;
}

void worker_queue_map(struct WorkerQueue* q, int worker, uint32_t generation, int queue_fd) {
  REQUIRE_OK(worker_queue_try_map(q, worker, generation, queue_fd));
}

void worker_queue_unmap(struct WorkerQueue* q) {
  munmap((void*)(uintptr_t)q->submission, q->layout.submission_bytes);
  munmap(q->completion, q->layout.completion_bytes);
  munmap((void*)(uintptr_t)q->state, q->layout.state_bytes);
  CHECK_OK(queue_unmap(q->worker, q->number));
}

uint32_t take_descriptors(struct WorkerQueue* q, uint32_t most) {
  const uint32_t tail = MLRING_LOAD_ACQUIRE(&q->submission->tail);
  const uint32_t head = (uint32_t)q->taken;
  // A hostile tail is the test's own doing: nothing is taken then.
  if (!mlring_index_ok(head, tail, head + q->layout.depth)) return 0;
  const uint32_t there = tail - head;
  const uint32_t count = there < most ? there : most;
  q->taken += count;
  MLRING_STORE_RELEASE(&q->completion->submission_head, (uint32_t)q->taken);
  return count;
}

void say_running(struct WorkerQueue* q, uint64_t since_ns) {
  MLRING_STORE_RELEASE(&q->completion->running_since, since_ns);
}

void publish_completions(struct WorkerQueue* q, uint32_t count, uint64_t busy_ns) {
  struct mlring_completion* ring_base = (struct mlring_completion*)((char*)q->completion + q->layout.completions);
  for (uint32_t i = 0; i < count; i++) {
    const struct mlring_completion c = {
        .user_data = q->completed, .status = MLRING_OK, .sequence = (uint32_t)q->completed};
    mlring_copy_out(&ring_base[(uint32_t)q->completed & q->layout.mask], &c, sizeof c);
    q->completed++;
  }
  q->busy += busy_ns;
  MLRING_STORE(&q->completion->busy, q->busy);
  MLRING_STORE_RELEASE(&q->completion->completion_tail, (uint32_t)q->completed);
  MLRING_STORE_RELEASE(&q->completion->completed_sequence, q->completed);
  MLRING_FULL_FENCE();
}

int complete_queue(struct WorkerQueue* q, uint32_t flags) {
  struct mlaccel_complete c = {.queue = q->number, .generation = q->generation, .flags = flags};
  return complete(q->worker, &c);
}

int notify_if_due(struct WorkerQueue* q, uint64_t before, uint64_t* called) {
  const bool wake = mlring_client_needs_wake(q->submission, (uint32_t)before, (uint32_t)q->completed);
  if (!wake && !mlring_owner_needs_notice(q->state, before, q->completed)) return 0;
  if (called != NULL) ++*called;
  return complete_queue(q, wake ? MLACCEL_COMPLETE_WAKE : 0);
}

static int64_t serve_counted(struct WorkerQueue* q, uint64_t* called) {
  int64_t served = 0;
  for (uint32_t count = take_descriptors(q, UINT32_MAX); count != 0; count = take_descriptors(q, UINT32_MAX)) {
    const uint64_t before = q->completed;
    publish_completions(q, count, count);
    const int result = notify_if_due(q, before, called);
    if (result != 0) return result;
    served += count;
  }
  return served;
}

int64_t serve(struct WorkerQueue* q) { return serve_counted(q, NULL); }

int next_events(int worker, struct mlaccel_event* events, unsigned room) {
  struct pollfd wait = {.fd = worker, .events = POLLIN};
  const int ready = poll(&wait, 1, 0);
  if (ready < 0) return -errno;
  if (ready == 0) return -EAGAIN;
  const ssize_t got = read(worker, events, room * sizeof *events);
  if (got < 0) return -errno;
  CHECK_EQ(got % (ssize_t)sizeof *events, 0);
  return (int)(got / (ssize_t)sizeof *events);
}

bool await_event(int worker, struct mlaccel_event* event, unsigned seconds) {
  struct pollfd wait = {.fd = worker, .events = POLLIN};
  if (poll(&wait, 1, (int)seconds * 1000) <= 0) return false;
  return read(worker, event, sizeof *event) == sizeof *event;
}

static void handle(struct FakeWorker* w, const struct mlaccel_event* e) {
  w->events++;
  if (e->bits & MLACCEL_EVENT_FREE) {
    if (w->on_free != NULL)
      w->on_free(w, e);
    else
      (void)freed(w->worker, e->request);
  }
  for (uint32_t i = 0; i < w->count; i++) {
    struct WorkerQueue* q = &w->queues[i];
    if (q->number != e->queue) continue;
    if (e->bits & MLACCEL_EVENT_ENDED) {
      worker_queue_unmap(q);
      w->queues[i] = w->queues[--w->count];
      return;
    }
    // Awake, then parked again, then one more look: who rang in between is seen there or rings once more.
    for (int turn = 0; turn < 2; turn++) {
      mlring_worker_turn(q->completion, &q->parked);
      const int64_t served = serve_counted(q, &w->completes);
      if (served > 0) w->served += (uint64_t)served;
    }
    return;
  }
}

static void* work(void* argument) {
  struct FakeWorker* w = argument;
  struct pollfd waits[2] = {{.fd = w->worker, .events = POLLIN}, {.fd = w->stop, .events = POLLIN}};
  for (;;) {
    if (poll(waits, 2, -1) < 0) continue;
    if (waits[1].revents != 0) return NULL;
    struct mlaccel_event events[16];
    const ssize_t got = read(w->worker, events, sizeof events);
    // A request whose client has gone is withdrawn, also behind the poll that told of it.
    if (got < 0 && errno == EAGAIN) continue;
    if (got <= 0) return NULL;
    pthread_mutex_lock(&w->lock);
    for (unsigned i = 0; i < (size_t)got / sizeof *events; i++) handle(w, &events[i]);
    pthread_mutex_unlock(&w->lock);
  }
}

void fake_worker_start(struct FakeWorker* w, int worker, uint32_t generation) {
  w->worker = worker;
  w->generation = generation;
  w->count = 0;
  w->served = w->completes = w->events = 0;
  w->stop = REQUIRE_FD(eventfd(0, EFD_CLOEXEC));
  REQUIRE_OK(fcntl(worker, F_SETFL, O_NONBLOCK));
  pthread_mutex_init(&w->lock, NULL);
  w->thread = start_thread(work, w);
}

void fake_worker_add(struct FakeWorker* w, int queue_fd) {
  pthread_mutex_lock(&w->lock);
  REQUIRE_AS(w->count, <, sizeof w->queues / sizeof w->queues[0]);
  struct WorkerQueue* q = &w->queues[w->count];
  worker_queue_map(q, w->worker, w->generation, queue_fd);
  w->count++;
  // Parked from the start; what was published before is served now.
  mlring_worker_turn(q->completion, &q->parked);
  const int64_t served = serve_counted(q, &w->completes);
  if (served > 0) w->served += (uint64_t)served;
  pthread_mutex_unlock(&w->lock);
}

void fake_worker_stop(struct FakeWorker* w) {
  const uint64_t one = 1;
  REQUIRE_EQ(write(w->stop, &one, sizeof one), (ssize_t)sizeof one);
  pthread_join(w->thread, NULL);
  while (w->count > 0) worker_queue_unmap(&w->queues[--w->count]);
  close(w->stop);
}
