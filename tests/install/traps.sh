#!/usr/bin/env bash
# Prints C that defines every protobuf symbol that a library imports, as a function that traps.
# usage: traps.sh LIBRARY
set -euo pipefail
symbols=$(nm -D --undefined-only "$1" | awk '{print $2}' | grep google8protobuf || true)
[[ -n $symbols ]] || { echo "traps: $1 imports nothing of protobuf" >&2; exit 1; }
count=0
for symbol in $symbols; do
  count=$((count + 1))
  echo "__attribute__((visibility(\"default\"))) void trap$count(void) __asm__(\"$symbol\");"
  echo "void trap$count(void) { __builtin_trap(); }"
done
