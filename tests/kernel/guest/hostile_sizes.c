// Structures of other sizes, at bad addresses, under unknown numbers: understood, or refused with nothing changed.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/every_call.h"
#include "support/snapshot.h"
#include "support/tap.h"

static struct Snapshot before;
static const size_t page = 4096;

static unsigned long with_size(unsigned long request, size_t size) {
  return _IOC(_IOC_DIR(request), _IOC_TYPE(request), _IOC_NR(request), size);
}

// ---- sizes

// Calls of which the bytes behind `size` may be missing: they are zero, or only answered.
struct Short {
  const char* call;
  size_t size;
};

static const struct Short shorter[] = {
    {"GET_FEATURES", 4},  {"DEV_UNREGISTER", 4}, {"DEV_STOP", 4},   {"WORKER_INFO", 4},   {"QUEUE_UNMAP", 4},
    {"COMPLETE", 8},      {"BO_LOOK", 4},        {"BO_DESTROY", 4}, {"BO_EVICT", 4},      {"BO_RESTORE", 4},
    {"FREED", 1},         {"DEV_QUERY", 4},      {"BO_INFO", 4},    {"CTX_DESTROY", 4},   {"CTX_STATE", 4},
    {"QUEUE_DESTROY", 4}, {"DOORBELL", 4},       {"WAIT", 24},      {"FENCE_ARM", 32},    {"WORKER_INFO", 1},
    {"COMPLETE", 23},     {"BO_LOOK", 47},       {"DEV_QUERY", 1},  {"GET_FEATURES", 31},
};

static void what_is_missing_at_the_end_is_zero(void) {
  struct World w;
  world_make(&w);
  for (size_t i = 0; i < sizeof shorter / sizeof shorter[0]; i++) {
    const struct EveryCall* c = find_call(shorter[i].call);
    union Argument given;
    memset(&given, 0, sizeof given);
    c->fill(&w, &given);
    // What the caller does not know must not be read, nor written.
    const size_t size = shorter[i].size;
    union Argument passed = given;
    memset(passed.bytes + size, 0x5a, sizeof passed - size);
    const union Argument was = passed;
    const int answer = call(world_file(&w, c), with_size(c->request, size), &passed);
    if (!CHECK_EQ(answer, c->answer) ||
        !CHECK(memcmp(passed.bytes + size, was.bytes + size, sizeof passed - size) == 0))
      note("%s of %zu bytes", c->name, size);
    if (c->clean != NULL) c->clean(&w, &given, answer == 0);
  }
  world_free(&w);
}

static const size_t more[] = {1, 8, 64, 4096, 16383};

static void what_is_more_at_the_end_must_be_zero(void) {
  struct World w;
  static union {
    union Argument argument;
    char bytes[16384];
  } longer;
  world_make(&w);
  for (size_t i = 0; i < every_call_count; i++) {
    const struct EveryCall* c = &every_call[i];
    for (size_t j = 0; j < sizeof more / sizeof more[0]; j++) {
      const size_t bytes = call_bytes(c);
      const size_t size = bytes + more[j] < 16383 ? bytes + more[j] : 16383;
      memset(&longer, 0, sizeof longer);
      c->fill(&w, &longer);
      if (c->file != CLIENT) {
        snapshot_take(&before, &w.device, w.drm);
        longer.bytes[size - 1] = 1;
        if (!CHECK_ERR(call(world_file(&w, c), with_size(c->request, size), &longer), E2BIG))
          note("%s of %zu bytes", c->name, size);
        snapshot_same(&before, &w.device, w.drm, c->name);
        longer.bytes[size - 1] = 0;
      } else {
        // DRM takes what it doesn't know for new fields that the caller can do without.
        longer.bytes[size - 1] = 1;
      }
      const int answer = call(world_file(&w, c), with_size(c->request, size), &longer);
      if (!CHECK_EQ(answer, c->answer)) note("%s of %zu bytes", c->name, size);
      if (c->clean != NULL) c->clean(&w, &longer, answer == 0);
    }
  }
  world_free(&w);
}

static void no_size_at_all_is_refused(void) {
  struct World w;
  world_make(&w);
  for (size_t i = 0; i < every_call_count; i++) {
    const struct EveryCall* c = &every_call[i];
    union Argument argument;
    if (c->file == CLIENT) continue;
    memset(&argument, 0, sizeof argument);
    snapshot_take(&before, &w.device, w.drm);
    CHECK_ERR(call(world_file(&w, c), with_size(c->request, 0), &argument), EINVAL);
    snapshot_same(&before, &w.device, w.drm, c->name);
  }
  world_free(&w);
}

// ---- addresses

// A page, and behind it one that nobody may touch.
static char* page_at_the_edge(void) {
  char* at = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  REQUIRE_OK(mprotect(at + page, page, PROT_NONE));
  return at;
}

static void bad_addresses_are_refused(void) {
  struct World w;
  world_make(&w);
  char* edge = page_at_the_edge();
  void* closed = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(closed != MAP_FAILED);
  // Null and near it, half in a page that isn't there, unreadable, not canonical, the kernel's.
  const uintptr_t bad[] = {0,
                           1,
                           (uintptr_t)edge + page - 1,
                           (uintptr_t)edge + page,
                           (uintptr_t)closed,
                           (uintptr_t)0x0000800000000000u,
                           (uintptr_t)0xffff888000000000u,
                           (uintptr_t)0xffffffff81000000u,
                           UINTPTR_MAX,
                           UINTPTR_MAX - 7};
  for (size_t i = 0; i < every_call_count; i++) {
    const struct EveryCall* c = &every_call[i];
    snapshot_take(&before, &w.device, w.drm);
    for (size_t j = 0; j < sizeof bad / sizeof bad[0]; j++)
      if (!CHECK_ERR(call(world_file(&w, c), c->request, (void*)bad[j]), EFAULT)) note("%s at %#zx", c->name, bad[j]);
    snapshot_same(&before, &w.device, w.drm, c->name);
  }
  world_free(&w);
}

static void an_answer_that_can_not_be_written_changes_nothing(void) {
  struct World w;
  world_make(&w);
  char* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  for (size_t i = 0; i < every_call_count; i++) {
    const struct EveryCall* c = &every_call[i];
    // DRM writes answers itself, behind the call.
    if (c->file == CLIENT) continue;
    REQUIRE_OK(mprotect(at, page, PROT_READ | PROT_WRITE));
    memset(at, 0, page);
    c->fill(&w, at);
    REQUIRE_OK(mprotect(at, page, PROT_READ));
    const bool answers = (_IOC_DIR(c->request) & _IOC_READ) != 0;
    snapshot_take(&before, &w.device, w.drm);
    const int first_free = dup(0);
    close(first_free);
    const int answer = call(world_file(&w, c), c->request, at);
    if (!CHECK_EQ(answer, answers ? -EFAULT : c->answer)) note("%s", c->name);
    if (answers) {
      snapshot_same(&before, &w.device, w.drm, c->name);
      if (!CHECK_ERR(fcntl(first_free, F_GETFD) < 0 ? -errno : 0, EBADF)) note("%s leaves a descriptor", c->name);
    }
    if (c->clean != NULL) c->clean(&w, at, answer == 0);
  }
  world_free(&w);
}

// With the file everything goes that a client was not told of.
static void what_a_client_was_not_told_goes_with_its_file(void) {
  struct World w;
  world_make(&w);
  char* at = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  const int mine = w.drm;
  snapshot_take(&before, &w.device, mine);
  w.drm = device_open(&w.device);
  const uint32_t context = w.context;
  REQUIRE_OK(new_context(w.drm, &w.context));
  static const char* const makers[] = {"BO_CREATE of host memory", "BO_CREATE of device memory", "CTX_CREATE",
                                       "QUEUE_CREATE"};
  for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++) {
    const struct EveryCall* c = find_call(makers[i]);
    REQUIRE_OK(mprotect(at, page, PROT_READ | PROT_WRITE));
    memset(at, 0, page);
    c->fill(&w, at);
    REQUIRE_OK(mprotect(at, page, PROT_READ));
    if (!CHECK_ERR(call(w.drm, c->request, at), EFAULT)) note("%s", c->name);
  }
  close(w.drm);
  // The queue's descriptor is the process's own.
  close_range((unsigned)w.drm, ~0u, 0);
  snapshot_same(&before, &w.device, mine, "a file whose answers could not be written");
  w.drm = mine;
  w.context = context;
  world_free(&w);
}

// ---- numbers

static bool is_known(enum CallFile file, unsigned number) {
  for (size_t i = 0; i < every_call_count; i++)
    if (every_call[i].file == file && _IOC_NR(every_call[i].request) == number) return true;
  return false;
}

static void unknown_numbers_and_directions_are_refused(void) {
  struct World w;
  world_make(&w);
  static union Argument argument;
  static const unsigned directions[] = {_IOC_NONE, _IOC_READ, _IOC_WRITE, _IOC_READ | _IOC_WRITE};
  snapshot_take(&before, &w.device, w.drm);
  for (unsigned number = 0; number < 256; number++) {
    for (unsigned i = 0; i < 4; i++) {
      const unsigned long request = _IOC(directions[i], MLACCEL_IOCTL, number, 8);
      if (!is_known(CONTROL, number)) CHECK_ERR(call(w.device.control, request, &argument), ENOTTY);
      if (!is_known(WORKER, number)) CHECK_ERR(call(w.device.worker, request, &argument), ENOTTY);
      CHECK_ERR(call(w.queue.fd, request, &argument), ENOTTY);
    }
    const unsigned driver = DRM_COMMAND_BASE + number;
    if (driver < DRM_COMMAND_END && !is_known(CLIENT, driver))
      CHECK_ERR(call(w.drm, DRM_IOWR(driver, union Argument), &argument), EINVAL);
  }
  for (size_t i = 0; i < every_call_count; i++) {
    const struct EveryCall* c = &every_call[i];
    if (c->file == CLIENT) continue;
    const unsigned direction = _IOC_DIR(c->request), number = _IOC_NR(c->request), bytes = _IOC_SIZE(c->request);
    for (unsigned j = 0; j < 4; j++)
      if (directions[j] != direction)
        CHECK_ERR(call(world_file(&w, c), _IOC(directions[j], MLACCEL_IOCTL, number, bytes), &argument), ENOTTY);
    CHECK_ERR(call(world_file(&w, c), _IOC(direction, 'd', number, bytes), &argument), ENOTTY);
  }
  snapshot_same(&before, &w.device, w.drm, "an unknown number");
  world_free(&w);
}

static void a_direction_that_drm_ignores_copies_nothing(void) {
  struct World w;
  world_make(&w);
  union Argument query, untouched;
  memset(&query, 0x5a, sizeof query);
  untouched = query;
  snapshot_take(&before, &w.device, w.drm);
  // Nothing is read, so all of it is zero; nothing is written.
  CHECK_OK(call(w.drm, DRM_IO(DRM_COMMAND_BASE + DRM_MLACCEL_DEV_QUERY), &query));
  CHECK(memcmp(&query, &untouched, sizeof query) == 0);
  CHECK_ERR(call(w.drm, DRM_IO(DRM_COMMAND_BASE + DRM_MLACCEL_BO_CREATE), &query), EINVAL);
  CHECK_ERR(call(w.drm, DRM_IOR(DRM_COMMAND_BASE + DRM_MLACCEL_QUEUE_CREATE, union Argument), &query), EINVAL);
  snapshot_same(&before, &w.device, w.drm, "a call without a direction");
  world_free(&w);
}

static void what_is_no_file_of_bytes_says_so(void) {
  struct World w;
  world_make(&w);
  char bytes[128] = "";
  snapshot_take(&before, &w.device, w.drm);
  CHECK_EQ(read(w.queue.fd, bytes, sizeof bytes) < 0 ? -errno : 0, -EINVAL);
  CHECK_EQ(write(w.queue.fd, bytes, sizeof bytes) < 0 ? -errno : 0, -EINVAL);
  CHECK_EQ(read(w.device.control, bytes, sizeof bytes) < 0 ? -errno : 0, -EINVAL);
  CHECK_EQ(write(w.device.control, bytes, sizeof bytes) < 0 ? -errno : 0, -EINVAL);
  CHECK_EQ(write(w.device.worker, bytes, sizeof bytes) < 0 ? -errno : 0, -EINVAL);
  CHECK_EQ(read(w.device.worker, bytes, sizeof(struct mlaccel_event) - 1) < 0 ? -errno : 0, -EINVAL);
  CHECK_EQ(read(w.device.worker, bytes, 0) < 0 ? -errno : 0, -EINVAL);
  CHECK(mmap(NULL, page, PROT_READ, MAP_SHARED, w.device.control, 0) == MAP_FAILED);
  CHECK_EQ(errno, ENODEV);
  CHECK_EQ(ftruncate(w.queue.fd, 1 << 20) < 0 ? -errno : 0, -EINVAL);
  CHECK(fallocate(w.queue.fd, 0, 0, 1 << 20) < 0);
  snapshot_same(&before, &w.device, w.drm, "reading and writing");
  world_free(&w);
}

static const struct Case cases[] = {
    {"what_is_missing_at_the_end_is_zero", what_is_missing_at_the_end_is_zero, 0},
    {"what_is_more_at_the_end_must_be_zero", what_is_more_at_the_end_must_be_zero, 0},
    {"no_size_at_all_is_refused", no_size_at_all_is_refused, 0},
    {"bad_addresses_are_refused", bad_addresses_are_refused, 0},
    {"an_answer_that_can_not_be_written_changes_nothing", an_answer_that_can_not_be_written_changes_nothing, 0},
    {"what_a_client_was_not_told_goes_with_its_file", what_a_client_was_not_told_goes_with_its_file, 0},
    {"unknown_numbers_and_directions_are_refused", unknown_numbers_and_directions_are_refused, 0},
    {"a_direction_that_drm_ignores_copies_nothing", a_direction_that_drm_ignores_copies_nothing, 0},
    {"what_is_no_file_of_bytes_says_so", what_is_no_file_of_bytes_says_so, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
