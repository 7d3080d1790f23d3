#!/usr/bin/env bash
# check_dmesg.sh finds each kind of splat and lets pass what a healthy run says.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sample=$(mktemp)
trap 'rm -f "$sample"' EXIT
failed=0

expect() { # exit code, line
  local status=0
  printf '[    1.0] booting\n[    2.0] %s\n[    3.0] done\n' "$2" > "$sample"
  "$here/check_dmesg.sh" "$sample" >/dev/null || status=$?
  [[ $status == "$1" ]] || { echo "check_dmesg_test: expected exit $1, got $status: $2"; failed=1; }
}

while IFS= read -r line; do expect 1 "$line"; done <<'SPLATS'
BUG: KASAN: slab-use-after-free in mlaccel_bo_free+0x1f/0x40 [mlaccel]
BUG: KASAN: use-after-free in queue_release+0x1f/0x40
UBSAN: array-index-out-of-bounds in kernel/mlaccel_queue.c:120:9
UBSAN: shift-out-of-bounds in mlaccel_pool.c:33:14
WARNING: CPU: 0 PID: 120 at drivers/gpu/drm/drm_gem.c:200 drm_gem_object_release+0x1/0x2
WARNING: possible circular locking dependency detected
WARNING: possible recursive locking detected
WARNING: inconsistent lock state
WARNING: suspicious RCU usage
WARNING: lock held when returning to user space!
WARNING: bad unlock balance detected!
INFO: trying to register non-static key.
DEBUG_LOCKS_WARN_ON(lock->magic != lock)
BUG: sleeping function called from invalid context at mm/slab.h:494
BUG: scheduling while atomic: client/120/0x00000002
BUG: kernel NULL pointer dereference, address: 0000000000000008
BUG: unable to handle page fault for address: ffffc90000a00000
Oops: 0000 [#1] PREEMPT SMP KASAN
kernel BUG at mm/slub.c:400!
general protection fault, probably for non-canonical address 0xdffffc0000000000: 0000 [#1]
invalid opcode: 0000 [#1] PREEMPT SMP
Kernel panic - not syncing: Fatal exception
INFO: task client:120 blocked for more than 60 seconds.
watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [client:120]
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
rcu: INFO: rcu_preempt self-detected stall on CPU
refcount_t: underflow; use-after-free.
list_del corruption. prev->next should be ffff888003, but was ffff888004
list_add double add: new=ffff888003, prev=ffff888003
ODEBUG: free active (active state 0) object type: timer_list hint: fence_expired+0x0/0x80
BUG kmalloc-64 (Not tainted): Poison overwritten
BUG mlaccel_bo (Tainted: G    B      OE     ): Objects remaining in mlaccel_bo on __kmem_cache_shutdown()
kmem_cache_destroy mlaccel_bo: Slab cache still has objects when called from exit+0x1/0x2
client: page allocation failure: order:9, mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO)
usercopy: Kernel memory exposure attempt detected from SLUB object 'kmalloc-64' (offset 0, size 96)!
kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
sysfs: cannot create duplicate filename '/devices/platform/mlaccel.0'
BUG: MAX_LOCKDEP_CHAINS too low!
SPLATS

while IFS= read -r line; do expect 0 "$line"; done <<'HEALTHY'
mlaccel: loading out-of-tree module taints kernel.
mlaccel: module verification failed: signature and/or required key missing - tainting kernel
Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible via Spectre v2 BHB attacks!
FAULT_INJECTION: forcing a failure.
name failslab, interval 1, probability 0, space 0, times 0
 should_fail_ex.cold+0x5/0xa
Memory cgroup out of memory: Killed process 120 (client) total-vm:2048kB, anon-rss:1024kB
client invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
Out of memory: Killed process 120 (client) total-vm:2048kB, anon-rss:1024kB
client[120]: segfault at 0 ip 000055d0 sp 00007ffd error 4 in client[55d0+1000]
traps: client[120] general protection fault ip:55d0 sp:7ffd error:0 in client[55d0+1000]
Kernel command line: console=ttyS0 panic=-1 oops=panic
rcu: Preemptible hierarchical RCU implementation.
Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar
kmemleak: Kernel memory leak detector disabled
random: crng init done
    ok 1 - refcounts_return_to_zero
HEALTHY

[[ $failed == 0 ]] && echo "check_dmesg_test: ok"
exit "$failed"
