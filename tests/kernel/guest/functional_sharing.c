// Memory shared with other drivers: vgem, udmabuf, a second device of ours, and ourselves.
#include <errno.h>
#include <fcntl.h>
#include <libdrm/drm_mode.h>
#include <linux/dma-buf.h>
#include <linux/udmabuf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/calls.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

enum { bytes = 16 * 4096 };

static void fill(char* at, char content) { memset(at, content, bytes); }

static void check_filled(const char* at, char content) {
  for (size_t i = 0; i < bytes; i += 1024) {
    if (!CHECK_EQ(at[i], content)) return;
  }
}

static char* map_fd(int fd, uint64_t offset) {
  char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
  REQUIRE(at != MAP_FAILED);
  return at;
}

static char* map_ours(int drm, uint32_t handle) {
  struct drm_mlaccel_bo_info info;
  REQUIRE_OK(bo_info(drm, handle, &info));
  return map_fd(drm, info.map_offset);
}

static uint32_t state_of(int drm, uint32_t handle) {
  struct drm_mlaccel_bo_info info;
  REQUIRE_OK(bo_info(drm, handle, &info));
  CHECK_EQ(info.size, bytes);
  CHECK_EQ(info.flags, MLACCEL_BO_HOST);
  return info.state;
}

static uint64_t host_bytes_used(int drm) {
  struct drm_mlaccel_dev_query q = {.flags = 0};
  REQUIRE_OK(dev_query(drm, &q));
  return q.user_host_bytes;
}

// ---- vgem

static int open_vgem(void) {
  const int vgem = open_driver("vgem");
  if (vgem < 0) skip("no vgem: modprobe vgem");
  return vgem;
}

static uint32_t vgem_bo(int vgem) {
  struct drm_mode_create_dumb c = {.width = bytes / 4, .height = 1, .bpp = 32};
  REQUIRE_OK(call(vgem, DRM_IOCTL_MODE_CREATE_DUMB, &c));
  REQUIRE_EQ(c.size, (uint64_t)bytes);
  return c.handle;
}

static char* map_vgem(int vgem, uint32_t handle) {
  struct drm_mode_map_dumb m = {.handle = handle};
  REQUIRE_OK(call(vgem, DRM_IOCTL_MODE_MAP_DUMB, &m));
  return map_fd(vgem, m.offset);
}

static void memory_of_vgem_is_imported(void) {
  struct Device d;
  device_setup(&d);
  const int drm = device_open(&d), vgem = open_vgem();
  const uint32_t theirs = vgem_bo(vgem);
  uint32_t ours;
  int dmabuf;
  REQUIRE_OK(prime_export(vgem, theirs, &dmabuf));
  REQUIRE_OK(prime_import(drm, dmabuf, &ours));
  CHECK_EQ(state_of(drm, ours), MLACCEL_BO_IMPORTED);
  // Its pages are vgem's to pay for; what lists them here is not.
  CHECK_AS(host_bytes_used(drm), <=, bytes / 64);
  char *there = map_vgem(vgem, theirs), *here = map_ours(drm, ours);
  fill(there, 'v');
  check_filled(here, 'v');
  fill(here, 'm');
  check_filled(there, 'm');
  munmap(here, bytes);
  close(dmabuf);
  CHECK_OK(gem_close(drm, ours));
  CHECK(EVENTUALLY(host_bytes_used(drm) == 0));
  device_remove(&d);
}

// What vgem has imported it maps in no way of its own, only as the dma-buf that it came from.
static char* map_at_vgem(int vgem, uint32_t handle) {
  int dmabuf;
  REQUIRE_OK(prime_export(vgem, handle, &dmabuf));
  char* at = map_fd(dmabuf, 0);
  close(dmabuf);
  return at;
}

static void vgem_imports_our_memory(void) {
  struct Device d;
  device_setup(&d);
  const int drm = device_open(&d), vgem = open_vgem();
  uint32_t ours, theirs;
  int dmabuf;
  REQUIRE_OK(host_bo(drm, bytes, &ours));
  char* here = map_ours(drm, ours);
  fill(here, 'm');
  REQUIRE_OK(prime_export(drm, ours, &dmabuf));
  REQUIRE_OK(prime_import(vgem, dmabuf, &theirs));
  close(dmabuf);
  char* there = map_at_vgem(vgem, theirs);
  check_filled(there, 'm');
  fill(there, 'v');
  check_filled(here, 'v');
  device_remove(&d);
}

// ---- in every order

enum { step_here, step_there, step_our_handle, step_their_handle, step_dmabuf, steps };

struct Shared {
  int drm, vgem, dmabuf;
  bool import;  // vgem's memory, else ours
  uint32_t ours, theirs;
  char *here, *there;
};

static void share(struct Shared* s) {
  if (s->import) {
    s->theirs = vgem_bo(s->vgem);
    REQUIRE_OK(prime_export(s->vgem, s->theirs, &s->dmabuf));
    REQUIRE_OK(prime_import(s->drm, s->dmabuf, &s->ours));
  } else {
    REQUIRE_OK(host_bo(s->drm, bytes, &s->ours));
    REQUIRE_OK(prime_export(s->drm, s->ours, &s->dmabuf));
    REQUIRE_OK(prime_import(s->vgem, s->dmabuf, &s->theirs));
  }
  s->here = map_ours(s->drm, s->ours);
  s->there = s->import ? map_vgem(s->vgem, s->theirs) : map_at_vgem(s->vgem, s->theirs);
}

static void let_go(struct Shared* s, int step) {
  switch (step) {
    case step_here:
      CHECK_OK(munmap(s->here, bytes));
      s->here = NULL;
      break;
    case step_there:
      CHECK_OK(munmap(s->there, bytes));
      s->there = NULL;
      break;
    case step_our_handle: CHECK_OK(gem_close(s->drm, s->ours)); break;
    case step_their_handle: CHECK_OK(gem_close(s->vgem, s->theirs)); break;
    default: CHECK_OK(close(s->dmabuf));
  }
}

static void check_shared(const struct Shared* s, char content) {
  if (s->here != NULL) fill(s->here, content);
  if (s->there != NULL && s->here != NULL) check_filled(s->there, content);
  if (s->there != NULL) fill(s->there, (char)(content + 1));
  if (s->there != NULL && s->here != NULL) check_filled(s->here, (char)(content + 1));
}

static void close_in_order(struct Shared* s, const int* order) {
  share(s);
  check_shared(s, 'a');
  for (int i = 0; i < steps; i++) {
    let_go(s, order[i]);
    check_shared(s, (char)('b' + i));
  }
}

static void close_in_all_orders(struct Shared* s, int* order, int at) {
  if (at == steps) {
    close_in_order(s, order);
    return;
  }
  for (int i = at; i < steps; i++) {
    int swap = order[at];
    order[at] = order[i];
    order[i] = swap;
    close_in_all_orders(s, order, at + 1);
    swap = order[at];
    order[at] = order[i];
    order[i] = swap;
  }
}

static void shared_with_vgem_in_every_order(bool import) {
  struct Device d;
  int order[steps] = {step_here, step_there, step_our_handle, step_their_handle, step_dmabuf};
  device_setup(&d);
  struct Shared s = {.drm = device_open(&d), .vgem = open_vgem(), .import = import};
  close_in_all_orders(&s, order, 0);
  CHECK(EVENTUALLY(host_bytes_used(s.drm) == 0));
  device_remove(&d);
}

static void memory_of_vgem_is_let_go_of_in_every_order(void) { shared_with_vgem_in_every_order(true); }

static void our_memory_at_vgem_is_let_go_of_in_every_order(void) { shared_with_vgem_in_every_order(false); }

static void an_import_outlives_its_exporter_file(void) {
  struct Device d;
  uint32_t ours;
  int dmabuf;
  device_setup(&d);
  const int drm = device_open(&d), vgem = open_vgem();
  const uint32_t theirs = vgem_bo(vgem);
  char* there = map_vgem(vgem, theirs);
  fill(there, 'v');
  REQUIRE_OK(prime_export(vgem, theirs, &dmabuf));
  REQUIRE_OK(prime_import(drm, dmabuf, &ours));
  munmap(there, bytes);
  close(dmabuf);
  close(vgem);
  check_filled(map_ours(drm, ours), 'v');
  device_remove(&d);
}

// ---- udmabuf

static void memory_of_udmabuf_is_imported(void) {
  struct Device d;
  uint32_t ours;
  device_setup(&d);
  const int drm = device_open(&d), control = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
  if (control < 0) skip("no /dev/udmabuf");
  const int memory = REQUIRE_FD(memfd_create("udmabuf", MFD_ALLOW_SEALING | MFD_CLOEXEC));
  REQUIRE_OK(ftruncate(memory, bytes));
  REQUIRE_OK(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK));
  struct udmabuf_create c = {.memfd = (uint32_t)memory, .flags = UDMABUF_FLAGS_CLOEXEC, .size = bytes};
  const int dmabuf = REQUIRE_FD(call(control, UDMABUF_CREATE, &c));
  char* there = map_fd(memory, 0);
  fill(there, 'u');
  REQUIRE_OK(prime_import(drm, dmabuf, &ours));
  CHECK_EQ(state_of(drm, ours), MLACCEL_BO_IMPORTED);
  char* here = map_ours(drm, ours);
  check_filled(here, 'u');
  close(dmabuf);
  // The memfd stays open: 6.1's udmabuf does not hold what it maps (mm reports pages "still mapped when deleted").
  fill(here, 'm');
  check_filled(there, 'm');
  munmap(there, bytes);
  CHECK_OK(gem_close(drm, ours));
  fill(here, 'n');
  check_filled(here, 'n');
  device_remove(&d);
}

// ---- ourselves

static void our_own_export_comes_back_as_itself(void) {
  struct Device d;
  uint32_t handle, again, other;
  int dmabuf, second;
  device_setup(&d);
  const int drm = device_open(&d), elsewhere = device_open(&d);
  REQUIRE_OK(host_bo(drm, bytes, &handle));
  REQUIRE_OK(prime_export(drm, handle, &dmabuf));
  REQUIRE_OK(prime_import(drm, dmabuf, &again));
  CHECK_EQ(again, handle);
  CHECK_EQ(state_of(drm, again), MLACCEL_BO_RESIDENT);
  // Another file of the device gets a handle of its own to the same object.
  REQUIRE_OK(prime_import(elsewhere, dmabuf, &other));
  CHECK_EQ(state_of(elsewhere, other), MLACCEL_BO_RESIDENT);
  CHECK_EQ(host_bytes_used(drm), bytes);
  char *here = map_ours(drm, handle), *there = map_ours(elsewhere, other);
  fill(here, 'a');
  check_filled(there, 'a');
  // One dma-buf for one object, however often it is exported.
  REQUIRE_OK(prime_export(elsewhere, other, &second));
  uint32_t third;
  REQUIRE_OK(prime_import(drm, second, &third));
  CHECK_EQ(third, handle);
  // The first file goes: who pays is still its user, and the pages stay.
  munmap(here, bytes);
  close(dmabuf);
  close(second);
  close(drm);
  check_filled(there, 'a');
  CHECK_EQ(host_bytes_used(elsewhere), bytes);
  munmap(there, bytes);
  CHECK_OK(gem_close(elsewhere, other));
  CHECK(EVENTUALLY(host_bytes_used(elsewhere) == 0));
  device_remove(&d);
}

static void a_second_device_of_ours_imports(void) {
  struct Device d, second;
  uint32_t ours, theirs;
  int dmabuf;
  device_setup(&d);
  device_add(&second, d.control, &(struct DeviceOptions){.memory_bytes = 0});
  const int drm = device_open(&d), elsewhere = device_open(&second);
  REQUIRE_OK(host_bo(drm, bytes, &ours));
  char* here = map_ours(drm, ours);
  fill(here, 'a');
  REQUIRE_OK(prime_export(drm, ours, &dmabuf));
  REQUIRE_OK(prime_import(elsewhere, dmabuf, &theirs));
  CHECK_EQ(state_of(elsewhere, theirs), MLACCEL_BO_IMPORTED);
  char* there = map_ours(elsewhere, theirs);
  check_filled(there, 'a');
  fill(there, 'b');
  check_filled(here, 'b');
  // The exporting device is unregistered under it.
  CHECK_OK(dev_unregister(d.control, d.number));
  check_filled(there, 'b');
  CHECK_OK(gem_close(elsewhere, theirs));
  munmap(here, bytes);
  munmap(there, bytes);
  close(dmabuf);
  close(drm);
  close(elsewhere);
  CHECK_OK(dev_unregister(d.control, second.number));
}

static void a_dma_buf_tells_its_size_and_syncs(void) {
  struct Device d;
  uint32_t handle;
  int dmabuf;
  device_setup(&d);
  const int drm = device_open(&d);
  REQUIRE_OK(host_bo(drm, bytes, &handle));
  REQUIRE_OK(prime_export(drm, handle, &dmabuf));
  CHECK_EQ(lseek(dmabuf, 0, SEEK_END), (off_t)bytes);
  struct dma_buf_sync sync = {.flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW};
  CHECK_OK(call(dmabuf, DMA_BUF_IOCTL_SYNC, &sync));
  sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
  CHECK_OK(call(dmabuf, DMA_BUF_IOCTL_SYNC, &sync));
  device_remove(&d);
}

// ---- what the worker sees of it

static void the_worker_looks_at_memory_handed_over(void) {
  struct Device d, second;
  struct mlaccel_bo_look look;
  struct drm_mlaccel_dev_query query = {.flags = 0};
  struct drm_mlaccel_bo_info info;
  uint32_t handle, memory, context, imported;
  int host_fd, memory_fd, vgem_fd;
  device_setup(&d);
  device_add(&second, d.control, &(struct DeviceOptions){.memory_bytes = 0});
  const int drm = device_open(&d), vgem = open_vgem();
  REQUIRE_OK(dev_query(drm, &query));
  REQUIRE_OK(host_bo(drm, bytes, &handle));
  REQUIRE_OK(prime_export(drm, handle, &host_fd));
  CHECK_OK(bo_look(d.worker, host_fd, &look));
  CHECK_EQ(look.size, (uint64_t)bytes);
  CHECK_EQ(look.bo_flags, MLACCEL_BO_HOST);
  CHECK_EQ(look.uid, getuid());
  CHECK_EQ(look.client, query.client);
  CHECK_EQ(look.bo, 0);
  // It maps what the client has.
  char *here = map_ours(drm, handle), *there = map_fd(host_fd, 0);
  fill(here, 'w');
  check_filled(there, 'w');

  REQUIRE_OK(new_context(drm, &context));
  REQUIRE_OK(device_bo(drm, context, bytes, 0, &memory));
  REQUIRE_OK(bo_info(drm, memory, &info));
  REQUIRE_OK(prime_export(drm, memory, &memory_fd));
  CHECK_OK(bo_look(d.worker, memory_fd, &look));
  CHECK_EQ(look.bo_flags, MLACCEL_BO_DEVICE);
  CHECK_AS(look.bo, >, 0);
  CHECK_EQ(look.address, info.address);
  CHECK_EQ(look.size, (uint64_t)bytes);
  // No CPU maps it, and no other device.
  CHECK(mmap(NULL, bytes, PROT_READ, MAP_SHARED, memory_fd, 0) == MAP_FAILED);
  CHECK_AS(prime_import(vgem, memory_fd, &imported), <, 0);

  CHECK_OK(bo_look(second.worker, host_fd, &look));
  CHECK_ERR(bo_look(second.worker, memory_fd, &look), EXDEV);
  CHECK_ERR(bo_look(d.worker, d.control, &look), EBADF);
  REQUIRE_OK(prime_export(vgem, vgem_bo(vgem), &vgem_fd));
  CHECK_ERR(bo_look(d.worker, vgem_fd, &look), EBADF);
  // Imported, it is exported again as vgem's own dma-buf.
  int again;
  REQUIRE_OK(prime_import(drm, vgem_fd, &imported));
  REQUIRE_OK(prime_export(drm, imported, &again));
  const int looked = bo_look(d.worker, again, &look);
  CHECK(looked == -EOPNOTSUPP || looked == -EBADF);
  // The next worker holds none of the last one's memory, and all of its clients'.
  device_recover(&d);
  CHECK_ERR(bo_look(d.worker, memory_fd, &look), ENODEV);
  CHECK_OK(bo_look(d.worker, host_fd, &look));
  close(second.worker);
  CHECK_OK(dev_unregister(d.control, second.number));
  device_remove(&d);
}

static const struct Case cases[] = {
    {"memory_of_vgem_is_imported", memory_of_vgem_is_imported, 0},
    {"vgem_imports_our_memory", vgem_imports_our_memory, 0},
    {"memory_of_vgem_is_let_go_of_in_every_order", memory_of_vgem_is_let_go_of_in_every_order, 0},
    {"our_memory_at_vgem_is_let_go_of_in_every_order", our_memory_at_vgem_is_let_go_of_in_every_order, 0},
    {"an_import_outlives_its_exporter_file", an_import_outlives_its_exporter_file, 0},
    {"memory_of_udmabuf_is_imported", memory_of_udmabuf_is_imported, 0},
    {"our_own_export_comes_back_as_itself", our_own_export_comes_back_as_itself, 0},
    {"a_second_device_of_ours_imports", a_second_device_of_ours_imports, 0},
    {"a_dma_buf_tells_its_size_and_syncs", a_dma_buf_tells_its_size_and_syncs, 0},
    {"the_worker_looks_at_memory_handed_over", the_worker_looks_at_memory_handed_over, 0},
};

int main(int argc, char** argv) { return RUN_CASES(argc, argv, cases); }
