// A device of the test's own: registered, with a worker's file, opened as its clients do; and what the kernel tells of
// it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/calls.h"

struct DeviceOptions {
  uint64_t memory_bytes;  // 0: 64 MiB
  uint64_t user_limit;    // 0: all of it
  uint64_t client_limit;  // 0: all of it
  bool stopped;           // no worker yet
};

struct Device {
  int control;
  int worker;  // -1: none
  uint32_t number;
  uint32_t minor;
  uint32_t generation;
  char name[MLACCEL_NAME];
  char path[64];  // of its node, which anybody may open
};

// An fd or -errno. Waits for a holder that is just leaving.
int control_open(void);

// Each of them opens the control node when `control` is negative. What fails ends the case.
void device_add(struct Device* d, int control, const struct DeviceOptions* options);
void device_setup(struct Device* d);  // with the usual options
void device_start(struct Device* d);
void device_recover(struct Device* d);
void device_remove(struct Device* d);  // worker, registration; the control node if the device opened it

int device_open(const struct Device* d);  // its node: an fd, or the case ends
int device_try_open(const struct Device* d);

// /sys/class/{accel,drm}/<node>/device/<attribute>, without its newline. False: it isn't there.
bool sysfs_text(const struct Device* d, const char* attribute, char* text, size_t size);
uint64_t sysfs_number(const struct Device* d, const char* attribute);
// debugfs: mlaccel/<name>/<file>.
bool debugfs_text(const struct Device* d, const char* file, char* text, size_t size);
// /proc/self/fdinfo: the value behind "key:". False: no such line.
bool fdinfo_text(int fd, const char* key, char* text, size_t size);
bool fdinfo_number(int fd, const char* key, uint64_t* number);
bool read_text(const char* path, char* text, size_t size);
int write_text(const char* path, const char* text);  // 0 or -errno
uint64_t module_parameter(const char* name);
void set_module_parameter(const char* name, uint64_t value);
// What DRM_IOCTL_VERSION says.
int drm_driver_name(int drm, char* name, size_t size);
// A node of another driver ("vgem"), its card node if it has one: render nodes refuse dumb buffers. An fd or -ENOENT.
int open_driver(const char* name);
// 6.1 is 601, 6.12 is 612.
unsigned kernel_version(void);
