/* The header is also C: this file is compiled as C11, pedantically, and must agree with C++ about every number. */
#include "kernel/uapi/mlaccel_ring.h"

uint64_t ring_c_fingerprint(uint32_t depth);

uint64_t ring_c_fingerprint(uint32_t depth)
{
	struct mlring_layout l;
	struct mlring_descriptor d = { .opcode = MLRING_OP_COPY, .argument_arena = 1, .argument_count = 2 };
	uint64_t dims[2] = { 3, 5 };
	uint64_t bytes = 0;

	if (!mlring_compute_layout(&l, depth, 4096) || mlring_check_descriptor(&d) != 0 ||
	    !mlring_tensor_bytes(MLRING_F32, 2, dims, &bytes))
		return 0;
	return l.bytes * 1000003 + l.errors * 1009 + l.completion_offset * 17 + bytes;
}
