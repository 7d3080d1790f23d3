// All that the kernel tells of a device, as text: what must be the same behind a call that failed.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "support/device.h"

struct Snapshot {
  char text[32768];
  size_t length;
};

// DEV_QUERY and fdinfo of the client's file, WORKER_INFO, sysfs, debugfs. A negative fd is left out.
void snapshot_take(struct Snapshot* s, const struct Device* d, int drm);
// Whether it all is as it was; else the lines that differ are noted, with what was done.
bool snapshot_same(const struct Snapshot* before, const struct Device* d, int drm, const char* done);
