// Processes that are killed: what they held is given back, who depended on them learns why, nobody else notices.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/uring.h"
#include "support/worker_queue.h"

static const size_t mebibyte = 1 << 20;
enum { somebody = 4711 };

// ---- clients

struct Doomed {
  struct Device* device;
  int socket;
};

static int exported_syncobj(int drm, uint32_t syncobj) {
  int fd = -1;
  REQUIRE_OK(syncobj_export(drm, syncobj, &fd));
  return fd;
}

// Has memory of both kinds, work that runs, a fence on it, and sleeps for it.
static void wait_for_work_that_never_ends(void* argument) {
  const struct Doomed* doomed = argument;
  const int drm = device_open(doomed->device);
  struct ClientQueue q;
  uint32_t host, memory, syncobj;
  client_queue_open(&q, drm, 8);
  REQUIRE_OK(host_bo(drm, mebibyte, &host));
  REQUIRE_OK(device_bo(drm, q.context, mebibyte, 0, &memory));
  REQUIRE_OK(syncobj_create(drm, 0, &syncobj));
  const uint64_t last = submit_nops(&q, 3);
  REQUIRE_OK(ring(&q));
  REQUIRE_OK(arm_point(drm, q.number, last, syncobj, 1));
  REQUIRE_OK(send_fd(doomed->socket, q.fd));
  REQUIRE_OK(send_fd(doomed->socket, exported_syncobj(drm, syncobj)));
  (void)wait_sequence(drm, q.number, last, UINT64_MAX, NULL);
}

static bool await_ended(int worker, uint32_t queue) {
  struct mlaccel_event event;
  while (await_event(worker, &event, 20))
    if (event.queue == queue && (event.bits & MLACCEL_EVENT_ENDED)) return true;
  return false;
}

static void a_client_killed_in_the_middle_of_a_job_gives_everything_back(void) {
  struct Device d;
  struct ClientQueue mine;
  struct WorkerQueue theirs_at_worker, mine_at_worker;
  int sockets[2];
  device_setup(&d);
  socket_pair(sockets);
  const int drm = device_open(&d);
  client_queue_open(&mine, drm, 8);
  worker_queue_map(&mine_at_worker, d.worker, d.generation, mine.fd);

  struct Doomed doomed = {.device = &d, .socket = sockets[1]};
  const pid_t pid = fork_as(somebody, wait_for_work_that_never_ends, &doomed);
  const int queue_fd = REQUIRE_FD(receive_fd(sockets[0]));
  const int syncobj_fd = REQUIRE_FD(receive_fd(sockets[0]));
  uint32_t syncobj;
  REQUIRE_OK(syncobj_import(drm, syncobj_fd, &syncobj));
  close(syncobj_fd);
  worker_queue_map(&theirs_at_worker, d.worker, d.generation, queue_fd);
  CHECK_EQ(take_descriptors(&theirs_at_worker, 2), 2);
  say_running(&theirs_at_worker, now_ns());
  REQUIRE(await_asleep(pid, 0));
  CHECK_EQ(fence_status(drm, syncobj, 1), 0);
  CHECK_EQ(memory_used(&d), mebibyte);

  kill(pid, SIGKILL);
  CHECK_EQ(wait_child(pid, 60), 128 + SIGKILL);
  CHECK_EQ(await_fence(drm, syncobj, 1, 10), -ECANCELED);
  CHECK(await_ended(d.worker, theirs_at_worker.number));
  publish_completions(&theirs_at_worker, 1, 1);
  CHECK_ERR(complete_queue(&theirs_at_worker, 0), ECANCELED);
  CHECK_EQ(MLRING_LOAD(&theirs_at_worker.state->state), MLRING_STATE_CLOSED);
  CHECK(EVENTUALLY(memory_used(&d) == 0));
  // The queue's pages are here still, and so is who pays for them.
  CHECK(EVENTUALLY(user_bytes(&d, somebody).host == theirs_at_worker.layout.bytes));
  CHECK_EQ(user_bytes(&d, somebody).device, 0);
  CHECK_OK(syncobj_destroy(drm, syncobj));
  worker_queue_unmap(&theirs_at_worker);
  close(queue_fd);
  CHECK(EVENTUALLY(user_bytes(&d, somebody).host == 0));

  const uint64_t last = submit_nops(&mine, 4);
  CHECK_OK(ring(&mine));
  CHECK_EQ(serve(&mine_at_worker), 4);
  CHECK_OK(wait_within(&mine, last, 20));
  CHECK_EQ(queue_state(&mine), MLRING_STATE_ACTIVE);
  device_remove(&d);
}

static void ask_for_a_third_of_the_memory(void* argument) {
  const struct Doomed* doomed = argument;
  uint32_t context, handle;
  const int drm = device_open(doomed->device);
  REQUIRE_OK(new_context(drm, &context));
  (void)device_bo(drm, context, 24 * mebibyte, 0, &handle);
}

static void a_client_killed_while_it_waits_for_memory_leaves_no_request(void) {
  const uint64_t usual = module_parameter("evict_timeout_ms");
  struct Device d;
  struct mlaccel_event event;
  uint32_t context, handle, after;
  device_setup(&d);
  const int drm = device_open(&d);
  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(device_bo(drm, context, 48 * mebibyte, 0, &handle));
  set_module_parameter("evict_timeout_ms", 100000);

  struct Doomed doomed = {.device = &d};
  const pid_t pid = fork_as(somebody, ask_for_a_third_of_the_memory, &doomed);
  REQUIRE(await_event(d.worker, &event, 20));
  CHECK_EQ(event.bits, MLACCEL_EVENT_FREE);
  CHECK_EQ(event.bytes, 24 * mebibyte);
  CHECK_EQ(event.uid, getuid());
  kill(pid, SIGKILL);
  CHECK_EQ(wait_child(pid, 60), 128 + SIGKILL);
  CHECK_ERR(freed(d.worker, event.request), ENOENT);
  CHECK_EQ(user_bytes(&d, somebody).device, 0);
  CHECK_EQ(memory_used(&d), 48 * mebibyte);
  CHECK_OK(device_bo(drm, context, 16 * mebibyte, 0, &after));
  set_module_parameter("evict_timeout_ms", usual);
  device_remove(&d);
}

struct Busy {
  struct Device* device;
  int socket;
  uint64_t seed;
};

// Makes, uses and drops a bit of everything, until it is killed.
static void use_everything(void* argument) {
  struct Busy* busy = argument;
  for (bool told = false;; told = true) {
    const int drm = device_open(busy->device);
    uint32_t context, host, memory, syncobj;
    struct ClientQueue q;
    REQUIRE_OK(new_context(drm, &context));
    // Its worker may be the first to die.
    while (client_queue_try_open(&q, drm, context, 2u << random_below(&busy->seed, 4), -1) == -ENODEV) pause();
    (void)host_bo(drm, (1 + random_below(&busy->seed, 16)) << 12, &host);
    (void)device_bo(drm, q.context, mebibyte, 0, &memory);
    REQUIRE_OK(syncobj_create(drm, 0, &syncobj));
    const uint64_t last = submit_nops(&q, 2);
    (void)ring(&q);
    (void)arm_point(drm, q.number, last, syncobj, 1);
    (void)wait_sequence(drm, q.number, last, now_ns() + random_below(&busy->seed, 2000000), NULL);
    if (random_below(&busy->seed, 2) != 0) client_queue_close(&q);
    if (random_below(&busy->seed, 2) != 0) (void)gem_close(drm, host);
    if (random_below(&busy->seed, 2) != 0) (void)ctx_destroy(drm, q.context);
    if (!told) tell(busy->socket, 's');
    close(drm);
  }
}

static void clients_killed_at_any_moment_give_everything_back(void) {
  struct Device d;
  uint64_t seed = test_seed();
  device_setup(&d);
  const uint64_t rounds = test_rounds(15);
  for (uint64_t round = 0; round < rounds && !case_failed(); round++) {
    int sockets[2];
    socket_pair(sockets);
    struct Busy busy = {.device = &d, .socket = sockets[1], .seed = next_random(&seed)};
    const pid_t pid = fork_as(somebody, use_everything, &busy);
    close(sockets[1]);
    REQUIRE_EQ(hear(sockets[0]), 's');
    pause_ns(random_below(&seed, MILLISECONDS(20)));
    kill(pid, SIGKILL);
    CHECK_EQ(wait_child(pid, 60), 128 + SIGKILL);
    CHECK(EVENTUALLY(memory_used(&d) == 0));
    CHECK(EVENTUALLY(user_bytes(&d, somebody).host == 0));
    CHECK_EQ(user_bytes(&d, somebody).device, 0);
    close(sockets[0]);
  }
  device_remove(&d);
}

// ---- workers

struct WorkerProcess {
  int worker;
  uint32_t generation;
  int queue_fd;
  int socket;
  bool threads;  // sleep in read() and poll()
  bool uring;    // and in io_uring
};

static void* sleep_in_read(void* argument) {
  const struct WorkerProcess* w = argument;
  struct mlaccel_event event;
  const ssize_t got = read(w->worker, &event, sizeof event);
  return (void*)(intptr_t)got;
}

static void* sleep_in_poll(void* argument) {
  const struct WorkerProcess* w = argument;
  struct pollfd wait = {.fd = w->worker, .events = POLLIN};
  const int ready = poll(&wait, 1, -1);
  return (void*)(intptr_t)(ready == 1 ? wait.revents : -1);
}

// Has the queue mapped and says that it runs something.
static void begin_work(const struct WorkerProcess* w, struct WorkerQueue* q) {
  worker_queue_map(q, w->worker, w->generation, w->queue_fd);
  CHECK_EQ(take_descriptors(q, 1), 1);
  say_running(q, now_ns());
}

static void sleep_until_killed(void* argument) {
  struct WorkerProcess* w = argument;
  struct WorkerQueue q;
  struct mlaccel_event event;
  struct Uring uring;
  struct io_uring_cqe completion;
  begin_work(w, &q);
  if (w->threads) {
    start_thread(sleep_in_read, w);
    start_thread(sleep_in_read, w);
    start_thread(sleep_in_poll, w);
  }
  if (w->uring) {
    REQUIRE_OK(uring_open(&uring));
    uring_submit_poll(&uring, w->worker, 1);
    uring_submit_read(&uring, w->worker, &event, sizeof event, 2);
  }
  tell(w->socket, 'r');
  if (w->uring)
    uring_next(&uring, true, &completion);
  else
    pause();
}

struct Waiter {
  const struct ClientQueue* queue;
  uint64_t sequence;
  pid_t thread;
  int result;
};

static void* wait_for_ever(void* argument) {
  struct Waiter* w = argument;
  __atomic_store_n(&w->thread, gettid(), __ATOMIC_SEQ_CST);
  w->result = wait_sequence(w->queue->drm, w->queue->number, w->sequence, UINT64_MAX, NULL);
  return NULL;
}

// All that a client of a dead worker sees.
static void check_lost(const struct Device* d, struct ClientQueue* q, uint32_t memory, const char* bytes,
                       int eventfd_) {
  struct drm_mlaccel_bo_info info;
  struct drm_mlaccel_ctx_state context;
  struct drm_mlaccel_dev_query query = {.flags = 0};
  struct ClientQueue next;
  uint32_t handle;
  // Its memory goes last. io_uring lets go of files behind the end of a process, so that may still be under way.
  CHECK(EVENTUALLY(dev_query(q->drm, &query) == 0 && query.memory_used == 0));
  CHECK_EQ(queue_state(q), MLRING_STATE_LOST);
  CHECK_EQ(MLRING_LOAD(&q->state->generation), q->generation + 1);
  CHECK_ERR(wait_within(q, MLRING_START, 1), ENODEV);
  CHECK_ERR(ring(q), ENODEV);
  uint64_t signals = 0;
  CHECK_EQ(read(eventfd_, &signals, sizeof signals), (ssize_t)sizeof signals);
  // Its pages and the client's memory are what they were.
  CHECK_EQ(MLRING_LOAD(&q->submission->tail), (uint32_t)q->next);
  CHECK_EQ(MLRING_LOAD(&q->completion->completed_sequence), MLRING_START);
  for (size_t i = 0; i < mebibyte; i += 4096) CHECK_EQ(bytes[i], 'm');
  CHECK_OK(bo_info(q->drm, memory, &info));
  CHECK_EQ(info.state, MLACCEL_BO_LOST);
  CHECK_OK(ctx_state(q->drm, q->context, &context));
  CHECK_EQ(context.state, MLACCEL_CTX_INNOCENT);
  CHECK_EQ(context.resets, 1);
  CHECK_EQ(context.memory_bytes, 0);
  CHECK_OK(dev_query(q->drm, &query));
  CHECK_EQ(query.state, MLACCEL_DEVICE_STOPPED);
  CHECK_EQ(query.memory_used, 0);
  // Who comes now finds the device, but nobody to work for it.
  const int late = device_open(d);
  uint32_t context_number;
  CHECK_OK(new_context(late, &context_number));
  CHECK_ERR(client_queue_try_open(&next, late, context_number, 8, -1), ENODEV);
  CHECK_ERR(device_bo(late, context_number, mebibyte, 0, &handle), ENODEV);
  CHECK_OK(host_bo(late, mebibyte, &handle));
  close(late);
}

static void kill_a_worker(bool threads, bool uring) {
  struct Device d;
  struct ClientQueue q;
  struct drm_mlaccel_bo_info info;
  int sockets[2];
  uint32_t context, host, memory, timeline, binary;
  device_setup(&d);
  socket_pair(sockets);
  const int drm = device_open(&d);
  const int wake = REQUIRE_FD(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(client_queue_try_open(&q, drm, context, 8, wake));
  REQUIRE_OK(host_bo(drm, mebibyte, &host));
  REQUIRE_OK(bo_info(drm, host, &info));
  char* bytes = mmap(NULL, mebibyte, PROT_READ | PROT_WRITE, MAP_SHARED, drm, (off_t)info.map_offset);
  REQUIRE(bytes != MAP_FAILED);
  memset(bytes, 'm', mebibyte);
  REQUIRE_OK(device_bo(drm, context, mebibyte, 0, &memory));
  REQUIRE_OK(syncobj_create(drm, 0, &timeline));
  REQUIRE_OK(syncobj_create(drm, 0, &binary));
  const uint64_t last = submit_nops(&q, 2);

  struct WorkerProcess w = {.worker = d.worker,
                            .generation = d.generation,
                            .queue_fd = q.fd,
                            .socket = sockets[1],
                            .threads = threads,
                            .uring = uring};
  const pid_t pid = fork_child(sleep_until_killed, &w);
  close(d.worker);
  d.worker = -1;
  REQUIRE_EQ(hear(sockets[0]), 'r');
  REQUIRE_OK(arm_point(drm, q.number, last, timeline, 1));
  REQUIRE_OK(arm_point(drm, q.number, last - 1, binary, 0));
  struct Waiter waiter = {.queue = &q, .sequence = last};
  const pthread_t thread = start_thread(wait_for_ever, &waiter);
  REQUIRE(EVENTUALLY(__atomic_load_n(&waiter.thread, __ATOMIC_SEQ_CST) != 0));
  REQUIRE(await_thread_asleep(waiter.thread));
  REQUIRE(await_asleep(pid, 0));
  CHECK_EQ(fence_status(drm, timeline, 1), 0);

  const uint64_t killed_at = now_ns();
  kill(pid, SIGKILL);
  CHECK_EQ(await_fence(drm, timeline, 1, 10), -ENODEV);
  CHECK_EQ(await_fence(drm, binary, 0, 10), -ENODEV);
  // One second, on a machine as slow as an emulated one.
  CHECK_AS(now_ns() - killed_at, <, SECONDS(5));
  CHECK_EQ(wait_child(pid, 60), 128 + SIGKILL);
  pthread_join(thread, NULL);
  CHECK_ERR(waiter.result, ENODEV);
  check_lost(&d, &q, memory, bytes, wake);

  CHECK_OK(dev_unregister(d.control, d.number));
  const int late = device_try_open(&d);
  CHECK(late == -ENODEV || late == -ENOENT);
  struct drm_mlaccel_dev_query query = {.flags = 0};
  CHECK_ERR(dev_query(drm, &query), ENODEV);
  CHECK_EQ(bytes[mebibyte - 1], 'm');
  CHECK_EQ(MLRING_LOAD(&q.submission->tail), (uint32_t)q.next);
  client_queue_unmap(&q);
  munmap(bytes, mebibyte);
  close(drm);
  close(d.control);
}

static void a_worker_killed_in_read_and_poll_loses_its_queues(void) { kill_a_worker(true, false); }

static void a_worker_killed_in_io_uring_loses_its_queues(void) { kill_a_worker(false, true); }

static void a_worker_killed_in_all_of_them_loses_its_queues(void) { kill_a_worker(true, true); }

static void a_worker_that_was_stopped_wakes_from_read_poll_and_io_uring(void) {
  struct Device d;
  struct Uring uring;
  struct io_uring_cqe completion;
  struct mlaccel_event event;
  void *from_read, *from_poll;
  device_setup(&d);
  struct WorkerProcess w = {.worker = d.worker};
  const pthread_t reader = start_thread(sleep_in_read, &w), poller = start_thread(sleep_in_poll, &w);
  REQUIRE_OK(uring_open(&uring));
  uring_submit_poll(&uring, d.worker, 1);
  uring_submit_read(&uring, d.worker, &event, sizeof event, 2);
  REQUIRE(await_asleep(getpid(), 1));
  CHECK(!uring_next(&uring, false, &completion));

  CHECK_OK(dev_stop(d.control, d.number));
  pthread_join(reader, &from_read);
  pthread_join(poller, &from_poll);
  CHECK_EQ((intptr_t)from_read, 0);
  CHECK_EQ((intptr_t)from_poll, POLLIN | POLLHUP);
  for (int i = 0; i < 2; i++) {
    REQUIRE(uring_next(&uring, true, &completion));
    if (completion.user_data == 1)
      CHECK_EQ(completion.res & (POLLIN | POLLHUP), POLLIN | POLLHUP);
    else
      CHECK_EQ(completion.res, 0);
  }
  close(uring.fd);
  device_remove(&d);
}

static void a_worker_that_dies_with_its_clients_leaves_nothing(void) {
  struct Device d;
  uint64_t seed = test_seed();
  const uint64_t rounds = test_rounds(10);
  device_setup(&d);
  for (uint64_t round = 0; round < rounds && !case_failed(); round++) {
    struct ClientQueue q;
    int sockets[2];
    socket_pair(sockets);
    int drm = device_open(&d);
    client_queue_open(&q, drm, 8);
    submit_nops(&q, 2);
    struct WorkerProcess w = {.worker = d.worker,
                              .generation = d.generation,
                              .queue_fd = q.fd,
                              .socket = sockets[1],
                              .threads = true,
                              .uring = round % 2 == 0};
    const pid_t worker = fork_child(sleep_until_killed, &w);
    close(d.worker);
    d.worker = -1;
    REQUIRE_EQ(hear(sockets[0]), 'r');
    struct Busy busy = {.device = &d, .socket = sockets[1], .seed = next_random(&seed)};
    const pid_t client = fork_as(somebody, use_everything, &busy);
    REQUIRE_EQ(hear(sockets[0]), 's');
    client_queue_unmap(&q);
    close(drm);
    kill(worker, SIGKILL);
    kill(client, SIGKILL);
    CHECK_EQ(wait_child(worker, 60), 128 + SIGKILL);
    CHECK_EQ(wait_child(client, 60), 128 + SIGKILL);
    CHECK(EVENTUALLY(memory_used(&d) == 0));
    CHECK(EVENTUALLY(user_bytes(&d, somebody).host == 0));
    CHECK(EVENTUALLY(user_bytes(&d, 0).host == 0));
    close(sockets[0]);
    close(sockets[1]);
    device_start(&d);
  }
  device_remove(&d);
}

static const struct Case cases[] = {
    {"a_client_killed_in_the_middle_of_a_job_gives_everything_back",
     a_client_killed_in_the_middle_of_a_job_gives_everything_back, 0},
    {"a_client_killed_while_it_waits_for_memory_leaves_no_request",
     a_client_killed_while_it_waits_for_memory_leaves_no_request, 0},
    {"clients_killed_at_any_moment_give_everything_back", clients_killed_at_any_moment_give_everything_back, 0},
    {"a_worker_killed_in_read_and_poll_loses_its_queues", a_worker_killed_in_read_and_poll_loses_its_queues, 0},
    {"a_worker_killed_in_io_uring_loses_its_queues", a_worker_killed_in_io_uring_loses_its_queues, 0},
    {"a_worker_killed_in_all_of_them_loses_its_queues", a_worker_killed_in_all_of_them_loses_its_queues, 0},
    {"a_worker_that_was_stopped_wakes_from_read_poll_and_io_uring",
     a_worker_that_was_stopped_wakes_from_read_poll_and_io_uring, 0},
    {"a_worker_that_dies_with_its_clients_leaves_nothing", a_worker_that_dies_with_its_clients_leaves_nothing, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
