#include "support/snapshot.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/tap.h"

static void add(struct Snapshot* s, const char* format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct Snapshot* s, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(s->text + s->length, sizeof s->text - s->length, format, arguments);
  va_end(arguments);
  s->length += (size_t)length;
  REQUIRE_AS(s->length, <, sizeof s->text);
}

static int is_plain(const struct dirent* entry) { return entry->d_name[0] != '.'; }

static void add_file(struct Snapshot* s, const char* path) {
  char text[8192];
  if (read_text(path, text, sizeof text)) add(s, "[%s]\n%s\n", path, text);
}

static void add_folder(struct Snapshot* s, const char* path) {
  struct dirent** entries = NULL;
  const int count = scandir(path, &entries, is_plain, alphasort);
  for (int i = 0; i < count; i++) {
    char file[600];
    struct stat status;
    snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
    if (lstat(file, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & S_IRUSR) != 0) add_file(s, file);
    free(entries[i]);
  }
  free(entries);
}

static void add_query(struct Snapshot* s, int drm) {
  struct drm_mlaccel_dev_query q = {.flags = 0};
  const int result = dev_query(drm, &q);
  add(s, "query %d: generation %u state %u used %ju user device %ju of %ju host %ju of %ju\n", result, q.generation,
      q.state, (uintmax_t)q.memory_used, (uintmax_t)q.user_device_bytes, (uintmax_t)q.user_device_limit,
      (uintmax_t)q.user_host_bytes, (uintmax_t)q.user_host_limit);
}

void snapshot_take(struct Snapshot* s, const struct Device* d, int drm) {
  char path[160];
  s->length = 0;
  s->text[0] = '\0';
  if (drm >= 0) {
    add_query(s, drm);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", drm);
    add_file(s, path);
  }
  if (d->worker >= 0) {
    struct mlaccel_worker_info i = {.device = 0};
    const int result = worker_info(d->worker, &i);
    add(s, "worker %d: queues %u used %ju\n", result, i.queues, (uintmax_t)i.memory_used);
  }
  const char* class = strncmp(d->path, "/dev/accel/", 11) == 0 ? "accel" : "drm";
  snprintf(path, sizeof path, "/sys/class/%s/%s/device", class, strrchr(d->path, '/') + 1);
  add_folder(s, path);
  snprintf(path, sizeof path, "/sys/kernel/debug/mlaccel/%s", d->name);
  add_folder(s, path);
}

static const char* next_line(const char* text, char* line, size_t size) {
  const size_t length = strcspn(text, "\n");
  snprintf(line, size, "%.*s", (int)length, text);
  return text + length + (text[length] == '\n');
}

bool snapshot_same(const struct Snapshot* before, const struct Device* d, int drm, const char* done) {
  static _Thread_local struct Snapshot now;
  snapshot_take(&now, d, drm);
  if (strcmp(before->text, now.text) == 0) return true;
  note("%s changed:", done);
  const char *was = before->text, *is = now.text;
  for (unsigned shown = 0; shown < 8 && (*was != '\0' || *is != '\0');) {
    char line_was[256], line_is[256];
    was = next_line(was, line_was, sizeof line_was);
    is = next_line(is, line_is, sizeof line_is);
    if (strcmp(line_was, line_is) == 0) continue;
    note("  - %s", line_was);
    note("  + %s", line_is);
    shown++;
  }
  check_failed(__FILE__, __LINE__, done);
  return false;
}
