#!/usr/bin/env bash
# Runs a command as root in a QEMU guest (no KVM) that boots one of the test kernels and has this machine's files.
# usage: guest.sh [options] command [argument...]
#   --kernel NAME      6.1, 6.12 or debug, or a folder that kernels.sh printed (default 6.1)
#   --module-dir DIR   its *.ko become modules of the guest: modprobe finds them
#   --out DIR          where console, dmesg and exit_code are kept, and what the guest writes to /out (default: nowhere)
#   --timeout SECONDS  the guest's wall clock (default 600)     --smp N  (default 2)     --memory SIZE  (default 2G)
#   --append WORDS     more for the kernel's command line, e.g. kunit.enable=1
# The guest's root is this machine's, read only, under a layer in memory: everything can be written, and is gone at the
# end but for /out. The command starts in the current folder, with the variables ML_* and MLACCEL_* of this environment.
# Exit code: the command's; 124: out of time; 125: the guest died (its console is shown).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kernel=6.1 modules='' out='' limit=600 cpus=2 memory=2G append=''

say() { echo "guest: $*" >&2; }
usage() { sed -n '2,11s/^# //p' "$0"; exit 2; }

while [[ $# -gt 0 ]]; do
  case $1 in
    --kernel) kernel=$2; shift 2 ;;
    --module-dir) modules=$(realpath "$2"); shift 2 ;;
    --out) mkdir -p "$2"; out=$(realpath "$2"); shift 2 ;;
    --timeout) limit=$2; shift 2 ;;
    --smp) cpus=$2; shift 2 ;;
    --memory) memory=$2; shift 2 ;;
    --append) append=$2; shift 2 ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
  esac
done
[[ $# -gt 0 ]] || usage

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[[ -n $out ]] || { out=$work/out; mkdir "$out"; }
rm -f "$out"/{console,dmesg,exit_code}

[[ $kernel == */* ]] || kernel=$("$here/kernels.sh" "$kernel")
release=$(cat "$kernel/release")
"$here/guest_modules.sh" "$kernel" "$work/modules" ${modules:+"$modules"}
"$here/guest_initramfs.sh" "$kernel" > "$work/initramfs"

# What the session in the guest runs, found in /session there.
session=$work/session
mkdir "$session"
cp "$here/init/session.sh" /bin/busybox "$session/"
{
  printf 'cd %q || exit 125\n' "$PWD"
  for name in $(compgen -e); do
    [[ $name != ML_* && $name != MLACCEL_* ]] || printf 'export %s=%q\n' "$name" "${!name}"
  done
  printf 'exec'
  printf ' %q' "$@"
  echo
} > "$session/command"
echo "$limit" > "$session/limit"

# tsc=reliable: without it clock_gettime is a system call, and an exit to the emulator. q35: on the older machine the
# debug kernel takes half a minute to route interrupts.
arguments=(
  -accel 'tcg,thread=multi' -machine q35 -cpu 'max,la57=off' -smp "$cpus" -m "$memory"
  -nodefaults -no-user-config -display none -no-reboot
  -kernel "$kernel/vmlinuz" -initrd "$work/initramfs"
  -append "console=ttyS0 ignore_loglevel panic=-1 oops=panic tsc=reliable mitigations=off random.trust_cpu=on \
kasan_multi_shot log_buf_len=4M printk.devkmsg=on $append"
  -chardev "file,id=console,path=$out/console" -serial chardev:console
  -device virtio-serial-pci -chardev 'file,id=output,path=/dev/stdout' -device 'virtserialport,chardev=output,name=output'
)
share() { # tag, folder, more
  arguments+=(-fsdev "local,id=$1,path=$2,security_model=none,multidevs=remap$3"
    -device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}
share host / ',readonly=on'
share modules "$work/modules" ',readonly=on'
share session "$session" ',readonly=on'
share out "$out" ''

# Time to boot, and to say where it hangs, comes on top of the limit. Output goes by a pipe, which QEMU can open anew.
died=0
timeout --foreground --kill-after=5 $((limit + 60)) qemu-system-x86_64 "${arguments[@]}" </dev/null 2>"$work/qemu.log" |
  cat || died=$?

if [[ -e $out/exit_code ]]; then
  exit "$(cat "$out/exit_code")"
fi
# What it may have begun to save is not all.
rm -f "$out/dmesg"
cat "$work/qemu.log" >&2
if [[ $died == 124 ]]; then
  say "$release gave no answer in $((limit + 60)) s; its console ends:"
else
  say "$release died; its console ends:"
  died=125
fi
tail -40 "$out/console" >&2
exit "$died"
