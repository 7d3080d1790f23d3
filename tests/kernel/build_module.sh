#!/usr/bin/env bash
# Builds kernel/ for one of the test kernels, every warning an error, and prints the folder that then holds its *.ko.
# usage: build_module.sh [--sparse] 6.1|6.12|debug|KERNEL_FOLDER      build_module.sh --checkpatch
# --sparse runs sparse with that kernel's headers instead; --checkpatch checks the style. All leave kernel/ as it is:
# they work on a copy in build/kernel/<kernel>, one run after the other.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
say() { echo "build_module: $*" >&2; }

checkpatch() {
  # Debian's headers come without it, its source package has it.
  local scripts=$root/build/kernel/checkpatch
  if [[ ! -e $scripts/checkpatch.pl ]]; then
    mkdir -p "$scripts.part"
    tar -xJf /usr/src/linux-source-6.1.tar.xz -C "$scripts.part" --strip-components 2 \
      linux-source-6.1/scripts/{checkpatch.pl,spelling.txt,const_structs.checkpatch}
    mv -T "$scripts.part" "$scripts"
  fi
  cd "$root"
  local bad=0 file ignore
  while read -r file; do
    case $file in
      # User space reads these too: it has uint32_t and no u32, and only C's own static assertion.
      kernel/uapi/*) ignore=PREFER_KERNEL_TYPES,CAMELCASE ;;
      # TRACE_EVENT has a layout of its own, in all of the kernel.
      *_trace.h) ignore=OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT ;;
      *) ignore=NONE ;;
    esac
    perl "$scripts/checkpatch.pl" --strict --no-tree --terse --show-types --no-summary --ignore "$ignore" \
      -f "$file" >&2 || bad=1
  done < <(find kernel -name '*.[ch]' ! -name '*.mod.c' | sort)
  rm -f .checkpatch-camelcase.*
  [[ $bad == 0 ]] || say "checkpatch: see above"
  exit "$bad"
}

sparse=false
case ${1:-} in
  --checkpatch) checkpatch ;;
  --sparse) sparse=true; shift ;;
esac
[[ $# == 1 ]] || { sed -n '2,5s/^# //p' "$0"; exit 2; }

kernel=$1
[[ $kernel == */* ]] || kernel=$("$here/kernels.sh" "$kernel")
name=$(basename "$kernel")
name=${name%%-*}
copy=$root/build/kernel/$name
log=$root/build/kernel/$name.log
mkdir -p "$copy"
exec 9>"$copy.lock"
flock 9
jobs=${JOBS:-$(nproc)}

# kernel/ may hold the products of a build of its own: only sources are copied, and those that went away go here too.
sources() {
  find . -type f '(' -name '*.[ch]' -o -name Kbuild -o -name Makefile ')' ! -name '*.mod.c' | sort
}
(cd "$root/kernel" && sources | xargs cp -pu --parents -t "$copy")
comm -13 <(cd "$root/kernel" && sources) <(cd "$copy" && sources) | (cd "$copy" && xargs -r rm -f)

# Kbuild's messages name the copy; people edit the original.
original() { sed "s#$copy/#kernel/#g" "$log"; }

flags=(W=1 KCFLAGS=-Werror)

if $sparse; then
  # C=2 checks what needs no compiling too; only what it says of our files counts, not of the kernel's headers.
  make -C "$kernel/build" M="$copy" "${flags[@]}" C=2 modules >"$log" 2>&1 || { original >&2; exit 1; }
  if original | grep -E '^kernel/[^ ]+:[0-9]+:[0-9]+: (warning|error):' >&2; then
    say "sparse for $name: see above"
    exit 1
  fi
  exit
fi

# A warning may come from modpost, which -Werror does not reach; what it was about must be built again next time.
if ! make -C "$kernel/build" M="$copy" "${flags[@]}" -j"$jobs" modules >"$log" 2>&1 ||
  grep -qiE '\bwarning\b' "$log"; then
  original >&2
  rm -f "$copy"/*.ko "$copy"/*.mod*
  say "kernel/ does not build without warnings for $name"
  exit 1
fi
# Renamed into place: a guest may just be taking those of an earlier run.
mkdir -p "$copy/ko"
for module in "$copy"/*.ko; do
  cp "$module" "$copy/ko/.part"
  mv "$copy/ko/.part" "$copy/ko/$(basename "$module")"
done
echo "$copy/ko"
