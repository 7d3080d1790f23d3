// The module itself, taken out of the kernel and put back in.
#pragma once

// delete_module() without force: 0 or -errno.
int unload_module(void);
// finit_module() of the file that modprobe would take. What fails ends the case.
void load_module(void);
