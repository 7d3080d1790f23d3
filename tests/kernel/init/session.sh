#!/bin/bash
# In the guest, as its first process: the command, its time limit, and the traces it leaves.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb
export HOME=/root XDG_RUNTIME_DIR=/run/user/0
read -r limit < /session/limit
ulimit -c 0
modprobe -qa vgem udmabuf brd loop

finish() { # exit code
  dmesg > /out/dmesg
  echo "$1" > /out/exit_code.part
  mv /out/exit_code.part /out/exit_code
  /session/busybox poweroff -f
}

# Out of time: say who is blocked where, and leave.
{
  sleep "$limit"
  echo "guest: out of time after $limit s"
  echo w > /proc/sysrq-trigger
  echo l > /proc/sysrq-trigger
  finish 124
} > /dev/kmsg 2>&1 &

for port in /sys/class/virtio-ports/*; do
  read -r name < "$port/name"
  [[ $name != output ]] || port=/dev/${port##*/} && break
done
# Through a pipe: faults that a test injects into its own system calls must not hit this machine's plumbing.
bash /session/command </dev/null 2>&1 | cat > "$port"
finish "${PIPESTATUS[0]}"
