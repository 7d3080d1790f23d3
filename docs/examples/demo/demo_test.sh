#!/usr/bin/env bash
# Runs the demo and holds it to what it promises: the job's model is good, C++ and mlctl agree with it, nothing is left.
# usage: demo_test.sh BUILD FASHION_MNIST
set -euo pipefail
fail() { echo "demo_test: $*" >&2; exit 1; }
shown=$(mktemp)
trap 'rm -f "$shown"' EXIT
root=$(realpath "$(dirname "$0")/../../..")
"$root/tools/demo.sh" "$1" "$2" </dev/null 2>&1 | tee "$shown"
awk '/^accuracy on 10000 test images/ {right = $NF >= 0.89} END {exit !right}' "$shown" || fail "the accuracy is below 0.89"
grep -q 'by unix:' "$shown" || fail "the C++ program did not use the daemon"
[[ ! -e $1/demo/mld.pid ]] || fail "the daemon's pid file is left"
