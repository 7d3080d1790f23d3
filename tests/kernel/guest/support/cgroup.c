#include "support/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

static const char* const root = "/sys/fs/cgroup";

void group_path(const char* name, const char* file, char path[128]) {
  snprintf(path, 128, "%s/%s/%s", root, name != NULL ? name : "", file);
}

void group_limit(const char* name, const char* memory_max) {
  char path[128];
  group_path(name, "memory.max", path);
  REQUIRE_OK(write_text(path, memory_max));
}

void group_make(const char* name, const char* memory_max) {
  char path[128];
  (void)write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
  group_path(name, "", path);
  REQUIRE(mkdir(path, 0755) == 0 || errno == EEXIST);
  if (memory_max != NULL) group_limit(name, memory_max);
}

int group_enter(const char* name) {
  char path[128];
  group_path(name, "cgroup.procs", path);
  return write_text(path, "0");
}

uint64_t group_bytes(const char* name) {
  char path[128], text[32];
  group_path(name, "memory.current", path);
  REQUIRE(read_text(path, text, sizeof text));
  return strtoull(text, NULL, 10);
}

void group_note(const char* name) {
  char path[128], text[256];
  group_path(name, "memory.events", path);
  if (!read_text(path, text, sizeof text)) return;
  for (char* c = text; *c != 0; c++)
    if (*c == '\n') *c = ' ';
  note("%s: %ju bytes; %s", name, (uintmax_t)group_bytes(name), text);
}

void group_remove(const char* name) {
  char path[128];
  group_path(name, "cgroup.kill", path);
  (void)write_text(path, "1");
  group_path(name, "", path);
  CHECK(EVENTUALLY(rmdir(path) == 0));
}
