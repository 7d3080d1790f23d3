#!/usr/bin/env bash
# Writes to stdout the first root of a test guest: busybox, boot.sh, and the modules that reach this machine's files.
# usage: guest_initramfs.sh KERNEL_FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1
release=$(cat "$kernel/release")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mkdir -p "$root"/{bin,dev,proc,sys,modules}
cp /bin/busybox "$root/bin/busybox"
cp "$here/init/boot.sh" "$root/init"
# In the order in which they must be loaded.
number=100
for module in virtio_pci virtio_console 9pnet_virtio 9p overlay; do
  while read -r action file _; do
    [[ $action == insmod ]] || continue
    name=$(basename "${file%.xz}")
    compgen -G "$root/modules/*-$name" >/dev/null && continue
    case $file in
      *.xz) xz -dc "$file" > "$root/modules/$number-$name" ;;
      *) cp "$file" "$root/modules/$number-$name" ;;
    esac
    number=$((number + 1))
  done < <(modprobe -d "$kernel" -S "$release" -C /dev/null --show-depends "$module")
done
cd "$root"
find . | cpio -o -H newc --quiet
