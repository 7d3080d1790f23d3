#!/usr/bin/env bash
# Runs every fuzz target of a build for a while, starting from tests/fuzz/corpus/<target>; stops at the first finding.
# usage: tools/fuzz.sh BUILD [SECONDS each, default 30]
set -euo pipefail

build=$1
seconds=${2:-30}
shopt -s nullglob
targets=("$build"/bin/fuzz_*)
[[ ${#targets[@]} -gt 0 ]] || { echo "fuzz: no targets in $build/bin; configure with -DMLACCEL_FUZZ=ON" >&2; exit 2; }

for target in "${targets[@]}"; do
  name=$(basename "$target")
  found=$build/corpus/$name
  mkdir -p "$found"
  seeds=(tests/fuzz/corpus/"${name#fuzz_}"/)
  [[ -d ${seeds[0]} ]] || seeds=()
  echo "fuzz: $name for $seconds s" >&2
  "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/" "$found" ${seeds[@]+"${seeds[@]}"} 2>&1 | grep -vE '^#|^INFO' | tail -25
done
