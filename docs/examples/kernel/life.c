// The whole life of a device of the kernel module, each of its calls once: what mld does with the control node, what a
// worker does with its file, what a client does with the node. docs/kernel.md tells the story of which this is the
// text. Needs the module, and root for the control node:
//   cc -I. docs/examples/kernel/life.c -o life && sudo ./life
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernel/uapi/mlaccel_control.h"
#include "kernel/uapi/mlaccel_drm.h"
#include "kernel/uapi/mlaccel_ring.h"

#define DEPTH 16
#define SECOND 1000000000ull

static void call(int fd, unsigned long request, void* argument, const char* name) {
  int ret;

  do ret = ioctl(fd, request, argument);
  while (ret != 0 && errno == EINTR);
  if (ret == 0) return;
  fprintf(stderr, "life: %s: %s\n", name, strerror(errno));
  exit(1);
}
#define CALL(fd, request, argument) call(fd, request, argument, #request)

static void must(int holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "life: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void send_fd(int socket, int fd) {
  char byte = 0, room[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);

  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  must(sendmsg(socket, &message, 0) == 1, "sendmsg");
}

static int receive_fd(int socket) {
  char byte, room[CMSG_SPACE(sizeof(int))];
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
  int fd = -1;

  must(recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message), "recvmsg");
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
  return fd;
}

// ---- the client ----------------------------------------------------------------------------------------------------

struct client_queue {
  uint32_t number;
  struct mlring_layout layout;
  struct mlring_submission_header* submission;
  const struct mlring_completion_header* completion;
  const struct mlring_state* state;
};

static void submit_nops(struct client_queue* q, uint32_t count) {
  struct mlring_descriptor* ring = (void*)((char*)q->submission + q->layout.descriptors);
  uint32_t tail = q->submission->tail, i;

  for (i = 0; i < count; i++)
    ring[(tail + i) & q->layout.mask] = (struct mlring_descriptor){.user_data = i, .opcode = MLRING_OP_NOP};
  MLRING_STORE_RELEASE(&q->submission->tail, tail + count);
}

static int client(int socket, const char* path) {
  int node = open(path, O_RDWR | O_CLOEXEC);

  must(node >= 0, path);
  struct drm_mlaccel_dev_query query = {0};
  CALL(node, DRM_IOCTL_MLACCEL_DEV_QUERY, &query);
  printf("client %llu of %s, generation %u\n", (unsigned long long)query.client, query.name, query.generation);

  struct drm_mlaccel_bo_create memory = {.size = 1 << 20, .flags = MLACCEL_BO_HOST};
  CALL(node, DRM_IOCTL_MLACCEL_BO_CREATE, &memory);
  struct drm_mlaccel_bo_info info = {.handle = memory.handle};
  CALL(node, DRM_IOCTL_MLACCEL_BO_INFO, &info);
  char* tensor = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, node, info.map_offset);
  must(tensor != MAP_FAILED, "mmap of a BO");
  strcpy(tensor, "what the worker will read");
  struct drm_prime_handle shared = {.handle = memory.handle, .flags = O_CLOEXEC | O_RDWR};
  CALL(node, DRM_IOCTL_PRIME_HANDLE_TO_FD, &shared);
  send_fd(socket, shared.fd);

  struct drm_mlaccel_ctx_create context = {.priority = 0, .timeout_ns = 5 * SECOND};
  CALL(node, DRM_IOCTL_MLACCEL_CTX_CREATE, &context);
  struct drm_mlaccel_bo_create weights = {.size = 64 << 10, .flags = MLACCEL_BO_DEVICE, .context = context.context};
  CALL(node, DRM_IOCTL_MLACCEL_BO_CREATE, &weights);

  int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct drm_mlaccel_queue_create queue = {.context = context.context, .depth = DEPTH, .wake_fd = wake};
  CALL(node, DRM_IOCTL_MLACCEL_QUEUE_CREATE, &queue);
  struct client_queue q = {.number = queue.queue};
  must(mlring_compute_layout(&q.layout, DEPTH, (uint32_t)sysconf(_SC_PAGESIZE)), "layout");
  q.submission = mmap(NULL, q.layout.submission_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, queue.fd,
                      (off_t)q.layout.submission_offset);
  q.completion =
      mmap(NULL, q.layout.completion_bytes, PROT_READ, MAP_SHARED, queue.fd, (off_t)q.layout.completion_offset);
  q.state = mmap(NULL, q.layout.state_bytes, PROT_READ, MAP_SHARED, queue.fd, (off_t)q.layout.state_offset);
  must(q.submission != MAP_FAILED && q.completion != MAP_FAILED && q.state != MAP_FAILED, "mmap of a queue");
  send_fd(socket, queue.fd);

  uint64_t first = MLRING_START;
  submit_nops(&q, 8);
  struct drm_mlaccel_doorbell doorbell = {.queue = q.number};
  CALL(node, DRM_IOCTL_MLACCEL_DOORBELL, &doorbell);

  struct drm_syncobj_create syncobj = {0};
  CALL(node, DRM_IOCTL_SYNCOBJ_CREATE, &syncobj);
  struct drm_mlaccel_fence_arm fence = {
      .queue = q.number, .sequence = first + 7, .syncobj = syncobj.handle, .point = 1, .timeout_ns = SECOND};
  CALL(node, DRM_IOCTL_MLACCEL_FENCE_ARM, &fence);
  struct drm_mlaccel_wait wait = {.queue = q.number, .sequence = first + 7, .deadline_ns = now_ns() + 60 * SECOND};
  CALL(node, DRM_IOCTL_MLACCEL_WAIT, &wait);
  printf("all below %llu are completed\n", (unsigned long long)wait.completed);

  struct drm_mlaccel_ctx_state state = {.context = context.context};
  CALL(node, DRM_IOCTL_MLACCEL_CTX_STATE, &state);
  must(state.completed == 8 && state.state == 0, "the context's state");
  struct drm_mlaccel_queue_destroy no_queue = {.queue = q.number};
  CALL(node, DRM_IOCTL_MLACCEL_QUEUE_DESTROY, &no_queue);
  struct drm_mlaccel_ctx_destroy no_context = {.context = context.context};
  CALL(node, DRM_IOCTL_MLACCEL_CTX_DESTROY, &no_context);
  must(MLRING_LOAD(&q.state->state) == MLRING_STATE_CLOSED, "the queue's state");
  return 0;
}

// ---- the worker ----------------------------------------------------------------------------------------------------

static void answer(char* pages, const struct mlring_layout* l, uint32_t* head) {
  const struct mlring_submission_header* s = (void*)(pages + l->submission_offset);
  struct mlring_completion_header* c = (void*)(pages + l->completion_offset);
  struct mlring_completion* ring = (void*)((char*)c + l->completions);

  for (; *head != MLRING_LOAD_ACQUIRE(&s->tail); ++*head)
    ring[*head & l->mask] = (struct mlring_completion){.sequence = *head, .status = MLRING_OK};
  MLRING_STORE(&c->submission_head, *head);
  MLRING_STORE(&c->completed_sequence, mlring_sequence_from(MLRING_LOAD(&c->completed_sequence), *head));
  MLRING_STORE_RELEASE(&c->completion_tail, *head);
  MLRING_FULL_FENCE();
}

static void work(int worker, int socket) {
  struct mlaccel_worker_info self = {0};
  CALL(worker, MLACCEL_WORKER_INFO, &self);
  struct mlaccel_bo_look look = {.fd = receive_fd(socket)};
  CALL(worker, MLACCEL_BO_LOOK, &look);
  const char* tensor = mmap(NULL, look.size, PROT_READ | PROT_WRITE, MAP_SHARED, look.fd, 0);
  must(tensor != MAP_FAILED && strncmp(tensor, "what the worker", 15) == 0, "the client's memory");

  struct mlaccel_queue_map map = {.fd = receive_fd(socket)};
  CALL(worker, MLACCEL_QUEUE_MAP, &map);
  struct mlring_layout l;
  must(mlring_compute_layout(&l, map.depth, (uint32_t)sysconf(_SC_PAGESIZE)), "layout");
  char* pages = mmap(NULL, l.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const struct {
    uint64_t offset, bytes;
    int protection;
  } parts[] = {{l.submission_offset, l.submission_bytes, PROT_READ},
               {l.completion_offset, l.completion_bytes, PROT_READ | PROT_WRITE},
               {l.state_offset, l.state_bytes, PROT_READ}};
  for (int i = 0; i < 3; i++)
    must(mmap(pages + parts[i].offset, parts[i].bytes, parts[i].protection, MAP_SHARED | MAP_FIXED, worker,
              (off_t)(map.map_offset + parts[i].offset)) != MAP_FAILED,
         "mmap of a queue");

  struct mlaccel_bo_create_for scratch = {.queue = map.queue, .size = 4096, .flags = MLACCEL_BO_NOWAIT};
  CALL(worker, MLACCEL_BO_CREATE_FOR, &scratch);
  struct mlaccel_bo_name name = {.bo = scratch.bo};
  CALL(worker, MLACCEL_BO_EVICT, &name);
  CALL(worker, MLACCEL_BO_RESTORE, &name);
  CALL(worker, MLACCEL_BO_DESTROY, &name);

  uint32_t head = MLRING_START, bits = 0;
  while ((bits & MLACCEL_EVENT_ENDED) == 0) {
    struct pollfd readable = {.fd = worker, .events = POLLIN};
    must(poll(&readable, 1, -1) == 1, "poll");
    struct mlaccel_event event;
    must(read(worker, &event, sizeof(event)) == sizeof(event), "read");
    bits = event.bits;
    if (bits & MLACCEL_EVENT_DOORBELL) {
      answer(pages, &l, &head);
      struct mlaccel_complete complete = {
          .queue = map.queue, .generation = self.generation, .flags = MLACCEL_COMPLETE_WAKE};
      /* It may have ended meanwhile: then there is nobody to tell. */
      must(ioctl(worker, MLACCEL_COMPLETE, &complete) == 0 || errno == ECANCELED, "MLACCEL_COMPLETE");
    }
  }
  struct mlaccel_queue_name done = {.queue = map.queue};
  CALL(worker, MLACCEL_QUEUE_UNMAP, &done);
}

// ---- the daemon ----------------------------------------------------------------------------------------------------

int main(void) {
  int sockets[2], status;
  char path[64];

  must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0, "socketpair");
  int control = open(MLACCEL_CONTROL_NODE, O_RDWR | O_CLOEXEC);
  must(control >= 0, MLACCEL_CONTROL_NODE);
  struct mlaccel_features features = {0};
  CALL(control, MLACCEL_GET_FEATURES, &features);
  struct mlaccel_dev_register device = {.name = "life0", .backend = "none", .memory_bytes = 1 << 20};
  CALL(control, MLACCEL_DEV_REGISTER, &device);
  struct mlaccel_dev_start start = {.device = device.device};
  CALL(control, MLACCEL_DEV_START, &start);
  struct mlaccel_set_limit limit = {.device = device.device, .uid = 1000, .bytes = 64 << 10};
  CALL(control, MLACCEL_SET_LIMIT, &limit);

  snprintf(path, sizeof(path),
           features.features & MLACCEL_FEATURE_ACCEL_NODE ? "/dev/accel/accel%u" : "/dev/dri/renderD%u", device.minor);
  pid_t child = fork();
  if (child == 0) {
    close(control);
    close(start.fd);
    exit(client(sockets[1], path));
  }
  work(start.fd, sockets[0]);
  must(waitpid(child, &status, 0) == child && status == 0, "the client");

  struct mlaccel_dev_start next = {.device = device.device};
  CALL(control, MLACCEL_DEV_RECOVER, &next);
  struct mlaccel_worker_info info = {0};
  must(ioctl(start.fd, MLACCEL_WORKER_INFO, &info) != 0 && errno == ENODEV, "the worker that was replaced");
  struct mlaccel_dev gone = {.device = device.device};
  CALL(control, MLACCEL_DEV_STOP, &gone);
  CALL(control, MLACCEL_DEV_UNREGISTER, &gone);
  puts("ok");
  return 0;
}
