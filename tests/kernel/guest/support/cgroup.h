// Control groups of memory, below the root of their hierarchy.
#pragma once

#include <stdint.h>

// Makes it, with that limit; NULL: none.
void group_make(const char* name, const char* memory_max);
void group_limit(const char* name, const char* memory_max);
// The calling process goes there; NULL: into the root. 0 or -errno.
int group_enter(const char* name);
uint64_t group_bytes(const char* name);  // that are charged to it
void group_note(const char* name);       // what is charged, and its events
void group_remove(const char* name);     // kills who is in there, and waits until it has gone
void group_path(const char* name, const char* file, char path[128]);
