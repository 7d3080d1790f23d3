// A buffer's life: made, mapped, every page touched, unmapped, gone. Against vgem's and a memfd.
#include <libdrm/drm_mode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/bench.h"
#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

enum Kind { ours, vgem, memfd, kinds };
static const char* const names[kinds] = {"mlaccel", "vgem", "memfd"};

struct Life {
  enum Kind kind;
  int fd;
  size_t bytes;
  uint64_t rounds;
};

static char* make(const struct Life* l, uint32_t* handle) {
  uint64_t offset = 0;
  int fd = l->fd;
  if (l->kind == ours) {
    struct drm_mlaccel_bo_info info;
    REQUIRE_OK(host_bo(fd, l->bytes, handle));
    REQUIRE_OK(bo_info(fd, *handle, &info));
    offset = info.map_offset;
  } else if (l->kind == vgem) {
    struct drm_mode_create_dumb c = {.width = (uint32_t)(l->bytes / 4096), .height = 1024, .bpp = 32};
    REQUIRE_OK(call(fd, DRM_IOCTL_MODE_CREATE_DUMB, &c));
    *handle = c.handle;
    struct drm_mode_map_dumb m = {.handle = *handle};
    REQUIRE_OK(call(fd, DRM_IOCTL_MODE_MAP_DUMB, &m));
    offset = m.offset;
  } else {
    fd = REQUIRE_FD(memfd_create("bench", MFD_CLOEXEC));
    REQUIRE_OK(ftruncate(fd, (off_t)l->bytes));
    *handle = (uint32_t)fd;
  }
  char* at = mmap(NULL, l->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
  REQUIRE(at != MAP_FAILED);
  return at;
}

static void live(const struct Life* l) {
  uint32_t handle = 0;
  char* at = make(l, &handle);
  for (size_t i = 0; i < l->bytes; i += 4096) ((volatile char*)at)[i] = 1;
  munmap(at, l->bytes);
  if (l->kind == memfd)
    close((int)handle);
  else
    REQUIRE_OK(gem_close(l->fd, handle));
}

static void live_counted(void* argument) {
  const struct Life* l = argument;
  live(l);
  mark(role_client, true);
  for (uint64_t i = 0; i < l->rounds; i++) live(l);
  mark(role_client, false);
}

struct Costs {
  double median, calls, switches, faults;
};

static void measure(struct Life lives[kinds], struct Costs costs[kinds]) {
  const uint64_t rounds = lives[0].rounds;
  uint64_t* samples[kinds];
  struct rusage before, after;
  memset(costs, 0, kinds * sizeof *costs);
  for (int k = 0; k < kinds; k++) {
    samples[k] = calloc(rounds, sizeof(uint64_t));
    live(&lives[k]);
  }
  // In turns, so that what the machine does besides falls on all of them.
  for (uint64_t i = 0; i < rounds; i++) {
    for (int k = 0; k < kinds; k++) {
      getrusage(RUSAGE_SELF, &before);
      const uint64_t start = now_ns();
      live(&lives[k]);
      samples[k][i] = now_ns() - start;
      getrusage(RUSAGE_SELF, &after);
      costs[k].switches += (double)(after.ru_nvcsw - before.ru_nvcsw) / (double)rounds;
      costs[k].faults += (double)(after.ru_minflt - before.ru_minflt) / (double)rounds;
    }
  }
  for (int k = 0; k < kinds; k++) {
    struct Life counted = lives[k];
    struct Calls calls;
    counted.rounds = 5;
    count_calls(live_counted, &counted, &calls);
    costs[k].median = median_of(samples[k], rounds);
    costs[k].calls = (double)calls.of[role_client] / 5;
    CHECK_EQ(calls.of[role_client], 5 * 5);
    free(samples[k]);
  }
}

static void report(const char* size, const struct Costs costs[kinds]) {
  for (int peer = vgem; peer < kinds; peer++) {
    char config[64];
    snprintf(config, sizeof config, "%s, every page touched", size);
    print_figure("kernel_bo_cycle", config, costs[ours].median, "ns", names[peer], costs[peer].median);
    snprintf(config, sizeof config, "%s, system calls", size);
    print_figure("kernel_bo_cycle", config, costs[ours].calls, "per cycle", names[peer], costs[peer].calls);
    snprintf(config, sizeof config, "%s, page faults", size);
    print_figure("kernel_bo_cycle", config, costs[ours].faults, "per cycle", names[peer], costs[peer].faults);
    snprintf(config, sizeof config, "%s, context switches", size);
    print_figure("kernel_bo_cycle", config, costs[ours].switches, "per cycle", names[peer], costs[peer].switches);
  }
}

void a_buffers_life_takes_five_calls(void) {
  static const struct {
    const char* name;
    size_t bytes;
    uint64_t rounds;
  } sizes[] = {{"64 KiB", 64 << 10, 101}, {"16 MiB", 16 << 20, 7}};
  struct Device d;
  device_setup(&d);
  const int drm = device_open(&d), other = open_driver("vgem");
  if (other < 0) skip("no vgem: modprobe vgem");
  pin_role(role_client);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct Life lives[kinds];
    struct Costs costs[kinds];
    for (int k = 0; k < kinds; k++)
      lives[k] = (struct Life){
          .kind = (enum Kind)k, .fd = k == ours ? drm : other, .bytes = sizes[i].bytes, .rounds = sizes[i].rounds};
    measure(lives, costs);
    report(sizes[i].name, costs);
  }
  device_remove(&d);
}
