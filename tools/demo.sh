#!/usr/bin/env bash
# What mlaccel does, shown: a private mld, a training job, and its model classifying images through shared-memory rings.
# usage: demo.sh BUILD FASHION_MNIST      (the folder with Fashion-MNIST as Debian packages it; everything made is in
# BUILD/demo, and what an earlier run left there is removed first)
set -euo pipefail

build=$(realpath "$1")
images=$2
here=$(realpath "$(dirname "$0")/../docs/examples/demo")
demo=$build/demo
say() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

if [[ -f $demo/mld.pid ]] && kill -0 "$(cat "$demo/mld.pid")" 2>/dev/null; then
  echo "demo: another demo runs in $demo (mld is process $(cat "$demo/mld.pid"))" >&2
  exit 1
fi
rm -rf "$demo/state" "$demo"/fashion.*
mkdir -p "$demo/data" "$demo/state"
for file in "$images"/*.gz; do
  to=$demo/data/$(basename "$file" .gz)
  [[ -s $to ]] || { gzip -dc "$file" >"$to.part" && mv "$to.part" "$to"; }
done
cp "$here/fashion.toml" "$here/fashion.labels" "$demo/"
echo "# mld --user: every setting has its default" >"$demo/mld.toml"
cd "$demo"

mld=
stop_mld() {
  trap '' INT TERM
  if [[ -n $mld ]]; then
    kill -TERM "$mld" 2>/dev/null || true
    wait "$mld" || true
    mld=
  fi
  rm -f "$demo/mld.pid"
}
# The sockets lie where mld, mlctl and libmlclient look for them, so that nothing below has to name them; not under BUILD,
# whose path may be too long for a socket.
XDG_RUNTIME_DIR=$(mktemp -d)
export XDG_RUNTIME_DIR
trap 'stop_mld; rm -rf "$XDG_RUNTIME_DIR"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
unset MLACCEL
PATH=$build/bin:$PATH

say "A daemon of your own, without any privileges: mld --user"
mld --user --config "$demo/mld.toml" --state "$demo/state" >"$demo/mld.log" 2>&1 &
mld=$!
echo "$mld" >"$demo/mld.pid"
for ((i = 0; i < 200; ++i)); do
  mlctl status >"$demo/status" 2>/dev/null && break
  kill -0 "$mld" 2>/dev/null || { cat "$demo/mld.log" >&2; echo "demo: mld did not start (its log is above)" >&2; exit 1; }
  sleep 0.05
done
show mlctl status

say "A training job: $(grep -c '^\[\[layer\]\]' fashion.toml) layers, 60,000 images, 5 epochs. The scheduler places it, its log follows"
job=$(mlctl job submit fashion.toml -o name)
show mlctl job logs "$job" --follow
show mlctl job show "$job"

say "It has registered what it trained"
show mlctl model ls

say "A C++ program opens the model by name; images and answers go through rings in shared memory"
show demo_classify --data data

say "The same from the command line"
show mlctl model infer fashion --input 'data/t10k-images-idx3-ubyte[0:6]' --mean 0.286 --deviation 0.353 --top 1 \
  --labels fashion.labels

say "Done; stopping the daemon. What it made is in ${demo#"$PWD/"}"
