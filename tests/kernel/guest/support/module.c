#include "support/module.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/device.h"
#include "support/process.h"
#include "support/tap.h"

int unload_module(void) { return syscall(SYS_delete_module, "mlaccel", O_NONBLOCK) == 0 ? 0 : -errno; }

void load_module(void) {
  char path[512] = "";
  FILE* pipe = popen("modinfo -n mlaccel", "r");
  REQUIRE(pipe != NULL);
  REQUIRE(fgets(path, sizeof path, pipe) != NULL);
  pclose(pipe);
  path[strcspn(path, "\n")] = '\0';
  const int file = REQUIRE_FD(open(path, O_RDONLY | O_CLOEXEC));
  REQUIRE_EQ(syscall(SYS_finit_module, file, "", 0) == 0 ? 0 : -errno, 0);
  close(file);
  REQUIRE(EVENTUALLY(access(MLACCEL_CONTROL_NODE, F_OK) == 0));
}
