#!/bin/busybox sh
# shellcheck shell=dash
# The first process of a test guest: puts a layer in memory over the host's files, mounts what a booted machine has, and
# goes on in there. Everything here is busybox from memory: each program of the host costs a guest without KVM dearly.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do
  [ -e "$module" ] && $bb insmod "$module"
done

share() { # tag, folder, options
  $bb mkdir -p "$2"
  $bb mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"
}
share host /host ro,cache=loose
$bb mkdir -p /layer /new
$bb mount -t tmpfs -o size=75%,mode=0755 layer /layer
$bb mkdir -p /layer/upper /layer/work
$bb mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /new
share session /new/session ro,cache=loose
share modules /new/guest-modules ro,cache=loose
# No cache here: what a dying guest has written must be on the host.
share out /new/out rw,cache=none
release=$($bb uname -r)
$bb mkdir -p "/new/lib/modules/$release"
$bb mount --bind "/new/guest-modules/lib/modules/$release" "/new/lib/modules/$release"

$bb mkdir -p /dev/shm /dev/pts
$bb mount -t tmpfs -o mode=1777 shm /dev/shm
$bb mount -t devpts -o ptmxmode=666 devpts /dev/pts
$bb mount -t debugfs debugfs /sys/kernel/debug
$bb mount -t tracefs tracefs /sys/kernel/tracing
$bb mount -t cgroup2 cgroup2 /sys/fs/cgroup
$bb ln -s /proc/self/fd /dev/fd
$bb ln -s fd/0 /dev/stdin
$bb ln -s fd/1 /dev/stdout
$bb ln -s fd/2 /dev/stderr
$bb mount -t tmpfs -o mode=0755 run /new/run
$bb mkdir -p -m 0700 /new/run/user/0
$bb hostname guest
$bb ifconfig lo 127.0.0.1 up

for name in proc sys dev; do $bb mount --move /$name /new/$name; done
exec $bb switch_root /new /bin/bash /session/session.sh
