#include "support/faults.h"

#include <dirent.h>
#include <errno.h>
#include <linux/sync_file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/process.h"
#include "support/tap.h"

// '\0': it isn't there.
static char state_of(const char* path) {
  char text[512];
  if (!read_text(path, text, sizeof text)) return '\0';
  const char* name_end = strrchr(text, ')');
  return name_end == NULL || name_end[1] == '\0' ? '\0' : name_end[2];
}

static unsigned threads_awake(pid_t pid) {
  char path[300];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR* folder = opendir(path);
  unsigned awake = 0;
  if (folder == NULL) return UINT32_MAX;
  for (const struct dirent* entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", pid, entry->d_name);
    awake += state_of(path) == 'R';
  }
  closedir(folder);
  return awake;
}

bool await_asleep(pid_t pid, unsigned awake) { return EVENTUALLY(threads_awake(pid) <= awake); }

bool await_thread_asleep(pid_t thread) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
  return EVENTUALLY(state_of(path) == 'S');
}

bool await_state(pid_t pid, char state) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  return EVENTUALLY(state_of(path) == state);
}

// A timeline's fence is a chain, whose own status knows no errors: those of what it holds do.
static int held_status(int sync_file) {
  struct sync_fence_info fences[8];
  struct sync_file_info info = {.num_fences = 8, .sync_fence_info = (uintptr_t)fences};
  memset(fences, 0, sizeof fences);
  const int result = call(sync_file, SYNC_IOC_FILE_INFO, &info);
  return result < 0 ? result : info.status;
}

int fence_status(int drm, uint32_t syncobj, uint64_t point) {
  uint32_t binary = syncobj;
  int file = -1;
  if (point != 0) {
    REQUIRE_OK(syncobj_create(drm, 0, &binary));
    REQUIRE_OK(timeline_transfer(drm, binary, 0, syncobj, point));
  }
  int status = sync_file_export(drm, binary, &file);
  if (status == 0) {
    status = held_status(file);
    close(file);
  }
  if (point != 0) CHECK_OK(syncobj_destroy(drm, binary));
  return status;
}

int await_fence(int drm, uint32_t syncobj, uint64_t point, unsigned seconds) {
  const uint64_t deadline = now_ns() + SECONDS(seconds);
  if (point != 0)
    CHECK_OK(timeline_wait(drm, syncobj, point, deadline, 0));
  else
    CHECK_OK(syncobj_wait(drm, syncobj, deadline, 0));
  return fence_status(drm, syncobj, point);
}

struct Asked {
  const struct Device* device;
  struct UserBytes bytes;
};

static void ask(void* argument) {
  struct Asked* asked = argument;
  struct drm_mlaccel_dev_query q = {.flags = 0};
  const int drm = device_open(asked->device);
  REQUIRE_OK(dev_query(drm, &q));
  asked->bytes = (struct UserBytes){.host = q.user_host_bytes, .device = q.user_device_bytes};
}

struct UserBytes user_bytes(const struct Device* d, uid_t uid) {
  struct Asked* asked = shared_memory(sizeof *asked);
  asked->device = d;
  const pid_t pid = fork_as(uid, ask, asked);
  REQUIRE_EQ(wait_child(pid, 60), 0);
  const struct UserBytes bytes = asked->bytes;
  munmap(asked, sizeof *asked);
  return bytes;
}

uint64_t memory_used(const struct Device* d) {
  struct drm_mlaccel_dev_query q = {.flags = 0};
  const int drm = device_open(d);
  REQUIRE_OK(dev_query(drm, &q));
  close(drm);
  return q.memory_used;
}

void* shared_memory(size_t bytes) {
  void* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  return at;
}

void forget_pages(struct WorkerQueue* q) {
  munmap((void*)(uintptr_t)q->submission, q->layout.submission_bytes);
  munmap(q->completion, q->layout.completion_bytes);
  munmap((void*)(uintptr_t)q->state, q->layout.state_bytes);
}
