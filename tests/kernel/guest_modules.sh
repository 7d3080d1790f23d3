#!/usr/bin/env bash
# Makes a folder of modules for a test guest: what the tests need of the kernel's own, and the modules given.
# usage: guest_modules.sh KERNEL_FOLDER FOLDER_TO_MAKE [FOLDER_WITH_KO_FILES]
set -euo pipefail
kernel=$1 made=$2 extra=${3:-}
release=$(cat "$kernel/release")
modules=$made/lib/modules/$release

mkdir -p "$modules/kernel" "$modules/extra"
cp "$kernel/lib/modules/$release"/modules.{builtin,builtin.modinfo,order} "$modules/"
# A kernel has what it has: udmabuf is missing in 6.1, and the debug kernel has all of these built in.
for module in drm drm_shmem_helper vgem udmabuf brd loop ext4 fuse tun; do
  while read -r action file _; do
    [[ $action == insmod ]] || continue
    name=$(basename "${file%.xz}")
    case $file in
      *.xz) xz -dc "$file" > "$modules/kernel/$name" ;;
      *) cp "$file" "$modules/kernel/" ;;
    esac
  done < <(modprobe -d "$kernel" -S "$release" -C /dev/null --show-depends "$module" 2>/dev/null || true)
done
if [[ -n $extra ]]; then cp "$extra"/*.ko "$modules/extra/"; fi
depmod -b "$made" "$release"
