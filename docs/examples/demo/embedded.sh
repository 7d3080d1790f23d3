#!/usr/bin/env bash
# The demo's programs without any daemon: an epoch of training, and the saved model classifies.
# usage: embedded.sh PROGRAMS FASHION_MNIST
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MLACCEL=embedded
for file in "$2"/*.gz; do gzip -dc "$file" >"$work/$(basename "$file" .gz)"; done
"$1/demo_train" --data "$work" --output "$work/fashion.mlmodel" --epochs 1
"$1/demo_classify" --data "$work" --model "$work/fashion.mlmodel" 2>"$work/said" | tee "$work/shown" | tail -1
grep -q 'by embedded' "$work/said" || { cat "$work/said" >&2; exit 1; }
awk '/^accuracy/ {right = $NF >= 0.85} END {exit !right}' "$work/shown" || { echo "that is too little" >&2; exit 1; }
