#!/usr/bin/env bash
# The module's tests: builds it for each test kernel, then boots each once and runs all test programs in it.
# usage: run.sh [--kernel 6.1|6.12|debug]... [--no-lint] [program...]      (default: all three kernels, all programs)
# ML_TEST_SEED and ML_TEST_ROUNDS reach the programs. What a guest left is in build/kernel/<kernel>-run: output,
# console, dmesg. GUEST_TIMEOUT: seconds that one kernel's programs may take in all (default 900).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

kernels=() programs=() lint=true
while [[ $# -gt 0 ]]; do
  case $1 in
    --kernel) kernels+=("$2"); shift 2 ;;
    --no-lint) lint=false; shift ;;
    -*) sed -n '2,5s/^# //p' "$0"; exit 2 ;;
    *) programs+=("$1"); shift ;;
  esac
done
[[ ${#kernels[@]} -gt 0 ]] || kernels=(6.1 6.12 debug)

say() { echo "test-kernel: $*"; }
failed=()

"$here/check_dmesg_test.sh"
if $lint; then "$here/build_module.sh" --checkpatch || failed+=("checkpatch"); fi
say "guest programs"
make -s -k -C "$here/guest" -j"${JOBS:-$(nproc)}" || failed+=("guest programs: build")
cc -std=gnu11 -Wall -Wextra -Werror -I. -o build/kernel/life docs/examples/kernel/life.c || failed+=("example: build")
"$here/docs_test.py" || failed+=("docs/kernel.md")
export ML_TEST_SEED=${ML_TEST_SEED:-$RANDOM$RANDOM}
say "ML_TEST_SEED=$ML_TEST_SEED ML_TEST_ROUNDS=${ML_TEST_ROUNDS:-}"

for kernel in "${kernels[@]}"; do
  start=$SECONDS
  folder=$("$here/kernels.sh" "$kernel")
  modules=$("$here/build_module.sh" "$folder") || { failed+=("$kernel: build"); continue; }
  if $lint; then "$here/build_module.sh" --sparse "$folder" || failed+=("$kernel: sparse"); fi
  built=$SECONDS

  out=build/kernel/$kernel-run
  mkdir -p "$out"
  append='' options=()
  # An image that has KUnit runs suites only if it is told to. KASAN and lockdep take their time, and their memory.
  if [[ $kernel == debug ]]; then append=kunit.enable=1 options=(--memory 3G); fi
  status=0
  "$here/guest.sh" --kernel "$folder" --module-dir "$modules" --out "$out" --timeout "${GUEST_TIMEOUT:-900}" \
    --append "$append" "${options[@]}" tests/kernel/init/suite.sh "$PWD/build/kernel/guest" "${programs[@]}" |
    tee "$out/output" || status=$?
  # A guest that died left no dmesg, but all of it is on its console.
  log=$out/dmesg
  [[ -e $log ]] || log=$out/console
  "$here/check_dmesg.sh" "$log" || failed+=("$kernel: dmesg")
  kunit=()
  if [[ $kernel == debug ]]; then kunit=("$log"); fi
  "$here/tap_summary.py" "$kernel" "$out/output" "${kunit[@]}" > "$out/summary" || failed+=("$kernel: tests")
  if [[ $status -gt 1 ]]; then failed+=("$kernel: guest, exit code $status"); fi
  say "$kernel ($(cat "$folder/release")): $((built - start)) s to build and check, $((SECONDS - built)) s in the guest"
done

echo
for kernel in "${kernels[@]}"; do cat "build/kernel/$kernel-run/summary" 2>/dev/null || true; done
if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'test-kernel: FAILED %s\n' "${failed[@]}"
  exit 1
fi
say "all passed"
