#include "support/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "support/process.h"
#include "support/tap.h"

int control_open(void) {
  int fd = -1;
  if (!EVENTUALLY((fd = open(MLACCEL_CONTROL_NODE, O_RDWR | O_CLOEXEC)) >= 0 || errno != EBUSY)) return -EBUSY;
  return fd < 0 ? -errno : fd;
}

void device_add(struct Device* d, int control, const struct DeviceOptions* options) {
  static unsigned count;
  const uint64_t memory = options->memory_bytes == 0 ? UINT64_C(64) << 20 : options->memory_bytes;
  struct mlaccel_features features = {.abi = 0};
  struct mlaccel_dev_register r = {
      .memory_bytes = memory, .user_limit = options->user_limit, .client_limit = options->client_limit};

  memset(d, 0, sizeof *d);
  d->worker = -1;
  d->control = control < 0 ? REQUIRE_FD(control_open()) : control;
  REQUIRE_OK(get_features(d->control, &features));
  snprintf(d->name, sizeof d->name, "test%d-%u", getpid(), count++);
  memcpy(r.name, d->name, sizeof r.name);
  strcpy(r.backend, "fake");
  REQUIRE_OK(dev_register(d->control, &r));
  d->number = r.device;
  d->minor = r.minor;
  const char* format = features.features & MLACCEL_FEATURE_ACCEL_NODE ? "/dev/accel/accel%u" : "/dev/dri/renderD%u";
  snprintf(d->path, sizeof d->path, format, d->minor);
  REQUIRE(EVENTUALLY(access(d->path, F_OK) == 0));
  REQUIRE_OK(chmod(d->path, 0666));
  if (!options->stopped) device_start(d);
}

void device_setup(struct Device* d) { device_add(d, -1, &(struct DeviceOptions){.memory_bytes = 0}); }

static void take_worker(struct Device* d, const struct mlaccel_dev_start* s) {
  d->worker = s->fd;
  CHECK_EQ(s->generation, d->generation + 1);
  d->generation = s->generation;
}

void device_start(struct Device* d) {
  struct mlaccel_dev_start s = {.device = d->number, .fd = -1};
  REQUIRE_OK(dev_start(d->control, &s));
  take_worker(d, &s);
}

void device_recover(struct Device* d) {
  struct mlaccel_dev_start s = {.device = d->number, .fd = -1};
  REQUIRE_OK(dev_recover(d->control, &s));
  if (d->worker >= 0) close(d->worker);
  take_worker(d, &s);
}

void device_remove(struct Device* d) {
  if (d->worker >= 0) close(d->worker);
  CHECK_OK(dev_unregister(d->control, d->number));
  close(d->control);
}

int device_try_open(const struct Device* d) {
  const int fd = open(d->path, O_RDWR | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int device_open(const struct Device* d) { return REQUIRE_FD(device_try_open(d)); }

bool read_text(const char* path, char* text, size_t size) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  size_t length = 0;
  for (ssize_t got = 1; got > 0 && length + 1 < size; length += (size_t)(got > 0 ? got : 0))
    got = read(fd, text + length, size - 1 - length);
  text[length] = '\0';
  close(fd);
  return true;
}

int write_text(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  const ssize_t length = (ssize_t)strlen(text);
  const int result = write(fd, text, (size_t)length) == length ? 0 : -errno;
  close(fd);
  return result;
}

static void cut_newline(char* text) { text[strcspn(text, "\n")] = '\0'; }

bool sysfs_text(const struct Device* d, const char* attribute, char* text, size_t size) {
  const bool accel = strncmp(d->path, "/dev/accel/", 11) == 0;
  char path[160];
  snprintf(path, sizeof path, "/sys/class/%s/%s/device/%s", accel ? "accel" : "drm", strrchr(d->path, '/') + 1,
           attribute);
  if (!read_text(path, text, size)) return false;
  cut_newline(text);
  return true;
}

uint64_t sysfs_number(const struct Device* d, const char* attribute) {
  char text[64];
  REQUIRE(sysfs_text(d, attribute, text, sizeof text));
  return strtoull(text, NULL, 10);
}

bool debugfs_text(const struct Device* d, const char* file, char* text, size_t size) {
  char path[160];
  snprintf(path, sizeof path, "/sys/kernel/debug/mlaccel/%s/%s", d->name, file);
  return read_text(path, text, size);
}

bool fdinfo_text(int fd, const char* key, char* text, size_t size) {
  char path[64], all[4096];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  if (!read_text(path, all, sizeof all)) return false;
  const size_t length = strlen(key);
  char* rest = NULL;
  for (char* one = strtok_r(all, "\n", &rest); one != NULL; one = strtok_r(NULL, "\n", &rest)) {
    if (strncmp(one, key, length) != 0 || one[length] != ':') continue;
    one += length + 1;
    snprintf(text, size, "%s", one + strspn(one, " \t"));
    return true;
  }
  return false;
}

bool fdinfo_number(int fd, const char* key, uint64_t* number) {
  char text[64];
  if (!fdinfo_text(fd, key, text, sizeof text)) return false;
  *number = strtoull(text, NULL, 10);
  return true;
}

uint64_t module_parameter(const char* name) {
  char path[128], text[64];
  snprintf(path, sizeof path, "/sys/module/mlaccel/parameters/%s", name);
  REQUIRE(read_text(path, text, sizeof text));
  return strtoull(text, NULL, 10);
}

void set_module_parameter(const char* name, uint64_t value) {
  char path[128], text[32];
  snprintf(path, sizeof path, "/sys/module/mlaccel/parameters/%s", name);
  snprintf(text, sizeof text, "%ju", (uintmax_t)value);
  REQUIRE_OK(write_text(path, text));
}

int drm_driver_name(int drm, char* name, size_t size) {
  struct drm_version v = {.name_len = size - 1, .name = name};
  const int result = call(drm, DRM_IOCTL_VERSION, &v);
  name[result == 0 && v.name_len < size ? v.name_len : 0] = '\0';
  return result;
}

static int open_driver_among(const char* prefix, const char* name) {
  DIR* folder = opendir("/dev/dri");
  int found = -ENOENT;
  if (folder == NULL) return found;
  for (const struct dirent* entry = readdir(folder); entry != NULL && found < 0; entry = readdir(folder)) {
    char path[300], driver[64];
    if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
    snprintf(path, sizeof path, "/dev/dri/%s", entry->d_name);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) continue;
    if (drm_driver_name(fd, driver, sizeof driver) == 0 && strcmp(driver, name) == 0)
      found = fd;
    else
      close(fd);
  }
  closedir(folder);
  return found;
}

int open_driver(const char* name) {
  const int card = open_driver_among("card", name);
  return card >= 0 ? card : open_driver_among("renderD", name);
}

unsigned kernel_version(void) {
  struct utsname names;
  unsigned major = 0, minor = 0;
  uname(&names);
  REQUIRE_EQ(sscanf(names.release, "%u.%u", &major, &minor), 2);
  return major * 100 + minor;
}
