#!/usr/bin/env bash
# Runs every fuzz target of a build for a while, starting from tests/fuzz/corpus/<target> and from what was put into
# BUILD/seeds/<target>; stops at the first finding, which stays in BUILD/corpus/fuzz_<target>. An input that takes more
# than a minute, 1 GiB, or 256 MiB at once is one.
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
  seeds=()
  for folder in tests/fuzz/corpus/"${name#fuzz_}"/ "$build/seeds/${name#fuzz_}"/; do
    [[ -d $folder ]] && seeds+=("$folder")
  done
  echo "fuzz: $name for $seconds s" >&2
  # What was freed stays in memory for a while, for the sanitizer's sake: not so much that it counts.
  ASAN_OPTIONS=quarantine_size_mb=16 "$target" -max_total_time="$seconds" -entropic=0 -timeout=60 -rss_limit_mb=1024 \
    -malloc_limit_mb=256 -print_final_stats=1 -artifact_prefix="$found/" \
    "$found" ${seeds[@]+"${seeds[@]}"} 2>&1 | grep -vE '^#|^INFO' | tail -25
done
