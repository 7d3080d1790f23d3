// The same cases, by a 32-bit program.
#include "functional_fences.c"
