#!/usr/bin/env bash
# dkms adds, builds, installs and removes the module for both of Debian's kernels, in trees of its own.
# usage: dkms.sh [KERNEL_FOLDER...]      (default: what kernels.sh brings for 6.1 and 6.12)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
kernels=("$@")
[[ ${#kernels[@]} -gt 0 ]] || mapfile -t kernels < <("$here/kernels.sh" 6.1 6.12)

fail() { echo "dkms: $*" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

eval "$(grep -E '^PACKAGE_(NAME|VERSION)=' "$root/dkms.conf")"
grep -q "project(mlaccel VERSION $PACKAGE_VERSION " "$root/CMakeLists.txt" ||
  fail "dkms.conf says version $PACKAGE_VERSION and CMakeLists.txt says otherwise"
source=$work/src/$PACKAGE_NAME-$PACKAGE_VERSION
mkdir -p "$source" "$work/dkms"
cp "$root/dkms.conf" "$source/"
# As from a release: no products of another build.
(cd "$root" && find kernel -type f ! -name '*.o' ! -name '*.ko' ! -name '*.mod*' ! -name '.*' ! -name 'Module.symvers' \
  -exec cp --parents -t "$source" {} +)

# Nothing of this machine is written: no depmod, and no key made to sign with.
export sign_file=$work/none
run() {
  local action=$1
  shift
  dkms "$action" -m "$PACKAGE_NAME" -v "$PACKAGE_VERSION" --dkmstree "$work/dkms" --sourcetree "$work/src" \
    --installtree "$work/modules" "$@" >"$work/log" 2>&1 ||
    { cat "$work/log" "$work"/dkms/*/*/build/make.log >&2; fail "$action"; }
}

run add
for kernel in "${kernels[@]}"; do
  release=$(cat "$kernel/release")
  at=(-k "$release" --kernelsourcedir "$(realpath "$kernel/build")")
  mkdir -p "$work/modules/$release"
  run build "${at[@]}" --no-depmod
  run install "${at[@]}" --no-depmod
  installed=$(find "$work/modules/$release" -name 'mlaccel.ko*')
  [[ -n $installed ]] || fail "$release: dkms install left no mlaccel.ko"
  vermagic=$(modinfo -F vermagic "$installed")
  [[ $vermagic == "$release "* ]] || fail "$release: built for '$vermagic'"
  run uninstall "${at[@]}" --no-depmod
  [[ -z $(find "$work/modules/$release" -name 'mlaccel.ko*') ]] || fail "$release: dkms uninstall left mlaccel.ko"
  echo "dkms: $release: built, installed, removed"
done
run remove --all --no-depmod
[[ ! -e $work/dkms/$PACKAGE_NAME ]] || [[ -z $(ls "$work/dkms/$PACKAGE_NAME") ]] || fail "dkms remove left its tree"
