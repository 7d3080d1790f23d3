// What a worker process gives up before it looks at anything that a client wrote. docs/security.md has the table; the
// tests in tests/unit/daemon_worker try everything that is refused here.
#pragma once

namespace ml::daemon {

// At the start of main, while there is one thread: no capabilities, no new privileges, no core dumps, not to be traced,
// and, by Landlock, no file but what the engine reads about CPUs and its cgroup, no TCP, no signals to others. Throws
// io naming the step. False: this kernel has no Landlock, and files are refused from enter_sandbox() on, by seccomp
// alone.
bool give_up_files();

// When all has been opened that ever is: of the system calls what computing, sleeping and the protocol need, in every
// thread there is and will be. The rest fails with EPERM, and what only an attacker would try ends the process. Throws
// io.
//
// Code generated at run time is executable (oneDNN's kernels are), so mprotect() to PROT_EXEC is allowed; mapping a
// file executable isn't.
//
// `kernel_file`: the worker's file of the kernel module, of whose calls those of a worker are allowed, on this file
// alone; -1: none.
void restrict_system_calls(int kernel_file = -1);

}  // namespace ml::daemon
