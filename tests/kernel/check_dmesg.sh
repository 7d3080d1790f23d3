#!/usr/bin/env bash
# Looks for anything in a kernel's log that must not be there, and shows it.
# usage: check_dmesg.sh FILE...        exit code 1: something was found
set -euo pipefail
[[ $# -gt 0 ]] || { sed -n '2,3s/^# //p' "$0"; exit 2; }

splats=(
  # KASAN, UBSAN, lockdep, the allocators, debug objects and every WARN_ON say one of these words.
  'WARNING: ' 'BUG: ' 'BUG [^ ]+ \(' 'kernel BUG at' 'UBSAN: ' 'ODEBUG: ' 'KCSAN: '
  'Oops: ' 'Oops\[' '[Uu]nable to handle' 'general protection fault[,:]' 'invalid opcode: ' 'double fault'
  'Kernel panic'
  'DEBUG_LOCKS_WARN_ON' 'turning off the locking correctness validator'
  'INFO: lockdep is turned off'
  'INFO: trying to register non-static key' 'possible (recursive|circular|irq|deadlock)' 'inconsistent lock state'
  'suspicious RCU usage' 'sleeping function called' 'scheduling while atomic'
  'INFO: task ' 'blocked for more than' 'soft lockup' 'hard LOCKUP' 'workqueue lockup' 'detected stall'
  'refcount_t: ' 'list_(add|del) double add' '(list|hlist)_(add|del).* corruption' 'usercopy: Kernel memory'
  'page allocation failure' 'Objects remaining in' 'kmem_cache_destroy .*: Slab cache still has objects'
  'kmemleak: [0-9]+ new suspected' 'Bad page' 'Bad rss-counter' 'nonzero pgtables_bytes' 'Fixing recursive fault'
  'trying to free nonexistent' 'sysfs: cannot create duplicate' 'kobject_add_internal failed' 'stack-protector: '
  'mlaccel: .*(tainting kernel due to|disagrees about version)'
)
# Said about the machine itself, with the words of a splat.
harmless='Spectre V2 : WARNING|WARNING: Spectre|MDS: WARNING|RETBleed: WARNING'

pattern=$(IFS='|'; echo "${splats[*]}")
status=0
for file in "$@"; do
  [[ -r $file ]] || { echo "check_dmesg: cannot read $file" >&2; exit 2; }
  # Serial consoles end lines with CR LF.
  if found=$(tr -d '\r' < "$file" | grep -anE "$pattern" | grep -avE "$harmless"); then
    status=1
    first=${found%%:*}
    echo "check_dmesg: $file has $(wc -l <<< "$found") lines that must not be there; from line $first:"
    tr -d '\r' < "$file" | sed -n "$((first > 3 ? first - 3 : 1)),$((first + 60))p" | sed 's/^/  | /'
    echo "check_dmesg: all of them:"
    head -40 <<< "$found" | sed 's/^/  | /'
  fi
done
exit "$status"
