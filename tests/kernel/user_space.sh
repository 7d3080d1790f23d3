#!/usr/bin/env bash
# mld, its worker and libmlclient over the kernel module, in QEMU guests: the installed service end to end, and the suites
# of the client and of hostile clients over the kernel transport.
# usage: user_space.sh [--kernel 6.1|6.12|debug]... [--only SUITE]... BUILD
#   (default: 6.1 and 6.12, all suites; init/user_space.sh has them). What a guest left is in BUILD/kernel/<kernel>-user-space.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

kernels=() only=()
while [[ $# -gt 1 ]]; do
  case $1 in
    --kernel) kernels+=("$2"); shift 2 ;;
    --only) only+=("$2"); shift 2 ;;
    *) break ;;
  esac
done
[[ $# -eq 1 && -d $1 ]] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
build=$(realpath "$1")
[[ ${#kernels[@]} -gt 0 ]] || kernels=(6.1 6.12)
say() { echo "user-space: $*"; }

# What `make demo` trains.
model=$build/demo/fashion.mlmodel
[[ -s $model ]] || tools/demo.sh "$build" "${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}" >&2

root=$build/kernel/user-space-root
rm -rf "$root"
DESTDIR=$root cmake --install "$build" --prefix /usr >"$build/kernel/user-space-install.log"

failed=()
for kernel in "${kernels[@]}"; do
  folder=$("$here/kernels.sh" "$kernel")
  modules=$("$here/build_module.sh" "$folder")
  out=$build/kernel/$kernel-user-space
  mkdir -p "$out"
  memory=2G
  if [[ $kernel == debug ]]; then memory=3G; fi
  status=0
  "$here/guest.sh" --kernel "$folder" --module-dir "$modules" --out "$out" --timeout "${GUEST_TIMEOUT:-900}" \
    --memory "$memory" tests/kernel/init/user_space.sh "$build" "$root" "$model" "${only[@]}" | tee "$out/output" || status=$?
  [[ $status -eq 0 ]] || failed+=("$kernel: exit code $status")
  log=$out/dmesg
  [[ -e $log ]] || log=$out/console
  "$here/check_dmesg.sh" "$log" || failed+=("$kernel: dmesg")
  say "$kernel: $(grep -c '^ok ' "$out/output" || true) passed, $(grep -c '^not ok ' "$out/output" || true) failed"
done
if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'user-space: FAILED %s\n' "${failed[@]}"
  exit 1
fi
