// Descriptors that are inherited, passed on and leaked: what ends with whose last close, who pays, what stays readable.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/client_queue.h"
#include "support/device.h"
#include "support/faults.h"
#include "support/process.h"
#include "support/tap.h"
#include "support/worker_queue.h"

enum { somebody = 4711, other = 4712 };
static const size_t page = 4096;

static bool await_ended(int worker, uint32_t queue) {
  struct mlaccel_event event;
  while (await_event(worker, &event, 20))
    if (event.queue == queue && (event.bits & MLACCEL_EVENT_ENDED)) return true;
  return false;
}

static bool is_silent(int worker) {
  struct mlaccel_event event;
  return next_events(worker, &event, 1) == -EAGAIN;
}

// ---- the node's file

struct Heir {
  struct ClientQueue queue;
  int socket;
};

// Uses what it has inherited when it is told to, and goes when it is told to.
static void inherit(void* argument) {
  struct Heir* h = argument;
  while (hear(h->socket) == 'u') {
    uint32_t handle;
    submit_nops(&h->queue, 1);
    CHECK_OK(ring(&h->queue));
    CHECK_OK(host_bo(h->queue.drm, page, &handle));
    CHECK_OK(gem_close(h->queue.drm, handle));
    tell(h->socket, 'd');
  }
}

static void a_queue_ends_with_the_last_close_of_its_file(void) {
  struct Device d;
  struct Heir heir;
  struct WorkerQueue w;
  int sockets[2];
  device_setup(&d);
  socket_pair(sockets);
  client_queue_open(&heir.queue, device_open(&d), 8);
  worker_queue_map(&w, d.worker, d.generation, heir.queue.fd);
  heir.socket = sockets[1];
  const pid_t first = fork_child(inherit, &heir);
  const int copy = dup(heir.queue.drm);
  close(heir.queue.drm);
  close(copy);
  CHECK_EQ(queue_state(&heir.queue), MLRING_STATE_ACTIVE);
  CHECK(is_silent(d.worker));
  tell(sockets[0], 'u');
  CHECK_EQ(hear(sockets[0]), 'd');
  struct mlaccel_event event;
  CHECK(await_event(d.worker, &event, 20));
  CHECK_EQ(event.bits, MLACCEL_EVENT_DOORBELL);
  CHECK_EQ(serve(&w), 1);
  tell(sockets[0], 'g');
  CHECK_EQ(wait_child(first, 60), 0);
  CHECK_EQ(queue_state(&heir.queue), MLRING_STATE_CLOSED);
  CHECK(await_ended(d.worker, w.number));
  device_remove(&d);
}

struct Receiver {
  int socket;
  uint32_t queue;
};

// Another user with the file of the first one.
static void receive_and_use(void* argument) {
  const struct Receiver* r = argument;
  uint32_t context, handle;
  const int drm = REQUIRE_FD(receive_fd(r->socket));
  CHECK_OK(doorbell(drm, r->queue));
  CHECK_OK(new_context(drm, &context));
  CHECK_OK(host_bo(drm, 16 * page, &handle));
  CHECK_OK(device_bo(drm, context, 16 * page, 0, &handle));
  tell(r->socket, 'd');
  CHECK_EQ(hear(r->socket), 'c');
  close(drm);
  tell(r->socket, 'd');
  (void)hear(r->socket);
}

static void who_opened_a_file_pays_for_who_uses_it(void) {
  struct Device d;
  struct ClientQueue q;
  struct WorkerQueue w;
  int sockets[2];
  device_setup(&d);
  socket_pair(sockets);
  client_queue_open(&q, device_open(&d), 8);
  worker_queue_map(&w, d.worker, d.generation, q.fd);
  struct Receiver receiver = {.socket = sockets[1], .queue = q.number};
  const uint64_t before = user_bytes(&d, getuid()).host;
  const pid_t pid = fork_as(somebody, receive_and_use, &receiver);
  REQUIRE_OK(send_fd(sockets[0], q.drm));
  close(q.drm);
  CHECK_EQ(hear(sockets[0]), 'd');
  CHECK_EQ(queue_state(&q), MLRING_STATE_ACTIVE);
  CHECK_EQ(user_bytes(&d, somebody).host, 0);
  CHECK_EQ(user_bytes(&d, somebody).device, 0);
  CHECK_EQ(user_bytes(&d, getuid()).host, before + 16 * page);
  CHECK_EQ(user_bytes(&d, getuid()).device, 16 * page);
  // The child's own copy of the descriptor from before the fork was there too.
  tell(sockets[0], 'c');
  CHECK_EQ(hear(sockets[0]), 'd');
  tell(sockets[0], 'e');
  CHECK_EQ(wait_child(pid, 60), 0);
  CHECK_EQ(queue_state(&q), MLRING_STATE_CLOSED);
  CHECK(await_ended(d.worker, w.number));
  CHECK_EQ(user_bytes(&d, getuid()).device, 0);
  CHECK_EQ(user_bytes(&d, getuid()).host, before);
  device_remove(&d);
}

static void a_file_on_its_way_keeps_its_queues(void) {
  struct Device d;
  struct ClientQueue q;
  int sockets[2];
  device_setup(&d);
  socket_pair(sockets);
  client_queue_open(&q, device_open(&d), 8);
  REQUIRE_OK(send_fd(sockets[0], q.drm));
  close(q.drm);
  CHECK_EQ(queue_state(&q), MLRING_STATE_ACTIVE);
  q.drm = REQUIRE_FD(receive_fd(sockets[1]));
  CHECK_OK(ring(&q));
  REQUIRE_OK(send_fd(sockets[0], q.drm));
  close(q.drm);
  CHECK_EQ(queue_state(&q), MLRING_STATE_ACTIVE);
  // Nobody ever takes it.
  close(sockets[0]);
  close(sockets[1]);
  CHECK(EVENTUALLY(queue_state(&q) == MLRING_STATE_CLOSED));
  device_remove(&d);
}

// ---- a queue's file

struct Leak {
  int socket;
};

static volatile char* map(int fd, uint64_t offset, int protection) {
  void* at = mmap(NULL, page, protection, MAP_SHARED, fd, (off_t)offset);
  REQUIRE(at != MAP_FAILED);
  return at;
}

// Keeps a queue's descriptor and a mapping of it, and drops one after the other.
static void keep_a_queue(void* argument) {
  struct Leak* l = argument;
  struct mlring_layout layout;
  const int fd = REQUIRE_FD(receive_fd(l->socket));
  REQUIRE(mlring_compute_layout(&layout, 8, (uint32_t)page));
  volatile char* early = map(fd, layout.submission_offset, PROT_READ | PROT_WRITE);
  tell(l->socket, 'k');
  CHECK_EQ(hear(l->socket), 'o');
  // Its owner is gone: pages that were mapped and ones that were not are there, and can be written, to no effect.
  CHECK_EQ(early[0], (char)(uint8_t)(MLRING_START + 3));
  early[0] = 'x';
  struct mlring_state* state = (struct mlring_state*)(uintptr_t)map(fd, layout.state_offset, PROT_READ);
  CHECK_EQ(MLRING_LOAD(&state->state), MLRING_STATE_CLOSED);
  volatile char* late = map(fd, layout.completion_offset, PROT_READ);
  CHECK_EQ(late[page - 1], 0);
  tell(l->socket, 'r');
  CHECK_EQ(hear(l->socket), 'f');
  close(fd);
  tell(l->socket, 'f');
  CHECK_EQ(hear(l->socket), 'm');
  munmap((void*)(uintptr_t)early, page);
  munmap((void*)(uintptr_t)state, page);
  munmap((void*)(uintptr_t)late, page);
  tell(l->socket, 'm');
  (void)hear(l->socket);
}

struct Owner {
  struct Device* device;
  int socket;
};

static void own_a_queue(void* argument) {
  const struct Owner* o = argument;
  struct ClientQueue q;
  client_queue_open(&q, device_open(o->device), 8);
  submit_nops(&q, 3);
  REQUIRE_OK(send_fd(o->socket, q.fd));
  (void)hear(o->socket);
}

static void a_leaked_queue_is_memory_and_nothing_more(void) {
  struct Device d;
  struct WorkerQueue w;
  int to_owner[2], to_keeper[2];
  device_setup(&d);
  socket_pair(to_owner);
  socket_pair(to_keeper);
  struct Owner owner = {.device = &d, .socket = to_owner[1]};
  struct Leak leak = {.socket = to_keeper[1]};
  const pid_t owning = fork_as(somebody, own_a_queue, &owner);
  const pid_t keeping = fork_as(other, keep_a_queue, &leak);
  int fd = REQUIRE_FD(receive_fd(to_owner[0]));
  worker_queue_map(&w, d.worker, d.generation, fd);
  const uint64_t bytes = w.layout.bytes;
  REQUIRE_OK(send_fd(to_keeper[0], fd));
  close(fd);
  CHECK_EQ(hear(to_keeper[0]), 'k');
  CHECK_EQ(user_bytes(&d, somebody).host, bytes);

  tell(to_owner[0], 'e');
  CHECK_EQ(wait_child(owning, 60), 0);
  CHECK(await_ended(d.worker, w.number));
  CHECK_ERR(complete_queue(&w, 0), ECANCELED);
  tell(to_keeper[0], 'o');
  CHECK_EQ(hear(to_keeper[0]), 'r');
  // The worker lets go; there are the keeper's descriptor and mappings still, and the owner pays.
  worker_queue_unmap(&w);
  CHECK_EQ(user_bytes(&d, somebody).host, bytes);
  CHECK_EQ(user_bytes(&d, other).host, 0);
  CHECK_EQ(sysfs_number(&d, "queues"), 0);
  tell(to_keeper[0], 'f');
  CHECK_EQ(hear(to_keeper[0]), 'f');
  CHECK_EQ(user_bytes(&d, somebody).host, bytes);
  tell(to_keeper[0], 'm');
  CHECK_EQ(hear(to_keeper[0]), 'm');
  CHECK(EVENTUALLY(user_bytes(&d, somebody).host == 0));
  tell(to_keeper[0], 'e');
  CHECK_EQ(wait_child(keeping, 60), 0);
  device_remove(&d);
}

static void an_ended_queue_is_mapped_by_no_worker(void) {
  struct Device d;
  struct ClientQueue q;
  struct mlaccel_queue_map m;
  device_setup(&d);
  client_queue_open(&q, device_open(&d), 8);
  CHECK_OK(queue_destroy(q.drm, q.number));
  CHECK_ERR(queue_map(d.worker, q.fd, &m), ECANCELED);
  CHECK_ERR(queue_destroy(q.drm, q.number), ENOENT);
  client_queue_open(&q, device_open(&d), 8);
  CHECK_OK(ctx_destroy(q.drm, q.context));
  CHECK_ERR(queue_map(d.worker, q.fd, &m), ECANCELED);
  CHECK_ERR(ring(&q), ECANCELED);
  // The queue that ended with its context can be let go of still.
  CHECK_OK(queue_destroy(q.drm, q.number));
  device_remove(&d);
}

// ---- children with mappings

struct Mapped {
  struct ClientQueue* queue;
  char* memory;
  int socket;
};

static void use_mappings(void* argument) {
  const struct Mapped* m = argument;
  CHECK_EQ(hear(m->socket), 'p');
  CHECK_EQ(m->memory[0], 'p');
  m->memory[page] = 'c';
  submit_nops(m->queue, 2);
  // Its own descriptors are not what keeps them.
  close(m->queue->drm);
  close(m->queue->fd);
  tell(m->socket, 'c');
  CHECK_EQ(hear(m->socket), 'q');
  CHECK_EQ(m->memory[0], 'q');
  CHECK_EQ(queue_state(m->queue), MLRING_STATE_CLOSED);
  m->memory[2 * page] = 'l';
  tell(m->socket, 'l');
  (void)hear(m->socket);
}

static void a_child_shares_mappings_that_outlive_their_files(void) {
  struct Device d;
  struct ClientQueue q;
  struct WorkerQueue w;
  struct drm_mlaccel_bo_info info;
  uint32_t handle;
  int sockets[2];
  device_setup(&d);
  socket_pair(sockets);
  client_queue_open(&q, device_open(&d), 8);
  worker_queue_map(&w, d.worker, d.generation, q.fd);
  REQUIRE_OK(host_bo(q.drm, 3 * page, &handle));
  REQUIRE_OK(bo_info(q.drm, handle, &info));
  char* memory = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, q.drm, (off_t)info.map_offset);
  REQUIRE(memory != MAP_FAILED);
  struct Mapped mapped = {.queue = &q, .memory = memory, .socket = sockets[1]};
  const pid_t pid = fork_child(use_mappings, &mapped);
  memory[0] = 'p';
  tell(sockets[0], 'p');
  CHECK_EQ(hear(sockets[0]), 'c');
  CHECK_EQ(memory[page], 'c');
  CHECK_OK(ring(&q));
  CHECK_EQ(serve(&w), 2);
  // A mapping of a buffer is a use of its file: the queue ends by hand.
  CHECK_OK(queue_destroy(q.drm, q.number));
  CHECK_OK(gem_close(q.drm, handle));
  close(q.drm);
  memory[0] = 'q';
  tell(sockets[0], 'q');
  CHECK_EQ(hear(sockets[0]), 'l');
  CHECK_EQ(memory[2 * page], 'l');
  munmap(memory, 3 * page);
  CHECK_AS(user_bytes(&d, getuid()).host, >=, 3 * page);
  tell(sockets[0], 'e');
  CHECK_EQ(wait_child(pid, 60), 0);
  worker_queue_unmap(&w);
  client_queue_unmap(&q);
  CHECK(EVENTUALLY(user_bytes(&d, getuid()).host == 0));
  device_remove(&d);
}

// ---- a worker's file

static void hold(void* argument) {
  const int* socket = argument;
  (void)hear(*socket);
}

static void a_worker_lives_as_long_as_anybody_has_its_file(void) {
  struct Device d;
  struct ClientQueue q;
  int sockets[2];
  device_setup(&d);
  socket_pair(sockets);
  client_queue_open(&q, device_open(&d), 8);
  const pid_t pid = fork_child(hold, &sockets[1]);
  close(d.worker);
  d.worker = -1;
  CHECK_EQ(queue_state(&q), MLRING_STATE_ACTIVE);
  struct mlaccel_dev_start s = {.device = d.number};
  CHECK_ERR(dev_start(d.control, &s), EBUSY);
  tell(sockets[0], 'e');
  CHECK_EQ(wait_child(pid, 60), 0);
  CHECK_EQ(queue_state(&q), MLRING_STATE_LOST);
  device_start(&d);
  device_remove(&d);
}

static void new_descriptors_are_closed_on_exec(void) {
  struct Device d;
  struct ClientQueue q;
  uint32_t handle;
  int dmabuf = -1;
  device_setup(&d);
  client_queue_open(&q, device_open(&d), 8);
  REQUIRE_OK(host_bo(q.drm, page, &handle));
  REQUIRE_OK(prime_export(q.drm, handle, &dmabuf));
  CHECK_EQ(fcntl(q.fd, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(fcntl(d.worker, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(fcntl(dmabuf, F_GETFD), FD_CLOEXEC);
  device_remove(&d);
}

static const struct Case cases[] = {
    {"a_queue_ends_with_the_last_close_of_its_file", a_queue_ends_with_the_last_close_of_its_file, 0},
    {"who_opened_a_file_pays_for_who_uses_it", who_opened_a_file_pays_for_who_uses_it, 0},
    {"a_file_on_its_way_keeps_its_queues", a_file_on_its_way_keeps_its_queues, 0},
    {"a_leaked_queue_is_memory_and_nothing_more", a_leaked_queue_is_memory_and_nothing_more, 0},
    {"an_ended_queue_is_mapped_by_no_worker", an_ended_queue_is_mapped_by_no_worker, 0},
    {"a_child_shares_mappings_that_outlive_their_files", a_child_shares_mappings_that_outlive_their_files, 0},
    {"a_worker_lives_as_long_as_anybody_has_its_file", a_worker_lives_as_long_as_anybody_has_its_file, 0},
    {"new_descriptors_are_closed_on_exec", new_descriptors_are_closed_on_exec, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
