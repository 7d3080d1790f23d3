#!/usr/bin/env bash
# The installed service: the files and their places, the users, the unit; then mld started as the unit says, in a mount
# namespace with its own /run, /var/lib and user database, and used by somebody else. Needs root.
# usage: service.sh BUILD
set -euo pipefail

fail() { echo "service: $*" >&2; exit 1; }
[[ $EUID -eq 0 ]] || fail "this test makes users and runs as them, so it needs root; leave it out with ctest -LE root"
if [[ ${1:-} != --inside ]]; then
  build=$(realpath "$1")
  work=$(mktemp -d)
  chmod 755 "$work"
  trap 'rm -rf "$work"' EXIT
  unshare --mount --propagation private "$0" --inside "$build" "$work"
  exit
fi
build=$2
work=$3

echo "files"
install_to() {  # DESTDIR, prefix
  DESTDIR=$1 cmake --install "$build" --prefix "$2" >"$work/install.log" || { cat "$work/install.log" >&2; exit 1; }
}
root=$work/root
install_to "$root" /usr
for file in usr/sbin/mld usr/libexec/mlaccel/mld-worker usr/libexec/mlaccel/mld-job usr/bin/mlctl usr/bin/mlbench \
  etc/mlaccel/mld.toml usr/lib/systemd/system/mld.service usr/lib/sysusers.d/mlaccel.conf \
  usr/lib/udev/rules.d/72-mlaccel.rules \
  usr/share/man/man1/mlctl.1 usr/share/bash-completion/completions/mlctl; do
  [[ -f $root/$file ]] || fail "make install leaves out /$file"
done
grep -q '^ExecStart=/usr/sbin/mld --config /etc/mlaccel/mld.toml$' "$root/usr/lib/systemd/system/mld.service" ||
  fail "the unit starts something else: $(grep ExecStart= "$root/usr/lib/systemd/system/mld.service")"
echo '# edited' >>"$root/etc/mlaccel/mld.toml"
make -s -C "$(dirname "$0")/../.." uninstall BUILD="$build" DESTDIR="$root"
left=$(find "$root" ! -type d)
[[ $left == "$root/etc/mlaccel/mld.toml" ]] || fail "make uninstall leaves, or takes: $left"
install_to "$root" /usr
tail -1 "$root/etc/mlaccel/mld.toml" | grep -q '^# edited$' || fail "make install overwrites an edited mld.toml"
if found=$(grep -lrF "$build" "$root"); then fail "these name the build tree: $found"; fi

echo "users"
cp /etc/passwd /etc/group /etc/shadow "$root/etc/"
systemd-sysusers --root="$root" mlaccel.conf
for name in passwd group; do mount --bind "$root/etc/$name" "/etc/$name"; done
id mlaccel mlaccel-worker >/dev/null
getent group mlaccel-admin >/dev/null || fail "there is no group mlaccel-admin"

echo "unit"
prefix=$work/usr
install_to "" "$prefix"
unit=$prefix/lib/systemd/system/mld.service
systemd-analyze verify --man=no "$unit"
# What the unit takes away, as systemd rates it: 10 is everything left open.
systemd-analyze security --offline=true --threshold=30 "$unit" >"$work/security" || { cat "$work/security" >&2; exit 1; }
tail -1 "$work/security"
value() { sed -n "s/^$1=//p" "$unit"; }

echo "service"
for folder in /run /var/lib; do mount -t tmpfs tmpfs "$folder"; done
install -d -o "$(value User)" -g "$(value Group)" -m "$(value RuntimeDirectoryMode)" "/run/$(value RuntimeDirectory)"
install -d -o "$(value User)" -g "$(value Group)" -m "$(value StateDirectoryMode)" "/var/lib/$(value StateDirectory)"
capabilities=$(value AmbientCapabilities | tr 'A-Z ' 'a-z,' | sed 's/cap_/+/g')
read -ra command <<<"$(value ExecStart)"
(
  umask "$(value UMask)"
  cd /
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv --reuid "$(value User)" --regid "$(value Group)" --init-groups \
    --bounding-set="-all,$capabilities" --inh-caps="-all,$capabilities" --ambient-caps="-all,$capabilities" \
    --no-new-privs "${command[@]}"
) >"$work/mld.log" 2>&1 &
mld=$!
trap 'kill -KILL $mld 2>/dev/null || true' EXIT
export PATH=$prefix/bin:$PATH
as() { local user=$1; shift; setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all "$@"; }
for ((i = 0; ; ++i)); do
  mlctl status >"$work/status" 2>&1 && break
  kill -0 $mld 2>/dev/null && ((i < 300)) || { cat "$work/mld.log" "$work/status" >&2; fail "mld does not come up"; }
  sleep 0.1
done

[[ $(stat -c %a /run/mlaccel/mld.sock) == 666 ]] || fail "mld.sock is not open to everybody"
wanted=$(printf '%016x' $((1 << 5 | 1 << 6 | 1 << 7 | 1 << 8)))  # KILL SETGID SETUID SETPCAP
for line in CapPrm CapEff CapBnd; do
  grep -q "^$line:.$wanted$" /proc/$mld/status || fail "mld has $(grep "^$line" /proc/$mld/status), not $wanted"
done
worker=$(pgrep -P $mld -x mld-worker)
[[ $(stat -c %U /proc/"$worker") == "$(id -nu mlaccel-worker)" ]] || fail "the worker runs as $(stat -c %U /proc/"$worker")"
for line in CapInh CapPrm CapEff CapBnd CapAmb; do
  grep -q "^$line:.0*$" /proc/"$worker"/status || fail "the worker has $(grep "^$line" /proc/"$worker"/status)"
done

# Somebody who is nobody in particular.
as 12345 mlctl status >/dev/null
as 12345 env MLACCEL=unix:/run/mlaccel/mld.sock "$build/bin/example_basic_tensors" >/dev/null
as 12345 mlctl doctor >/dev/null
code=0
as 12345 mlctl device drain cpu0 2>"$work/denied" || code=$?
[[ $code -eq 5 ]] || { cat "$work/denied" >&2; fail "anybody may drain a device (exit code $code)"; }

eval "$(value ExecReload | sed "s/\$MAINPID/$mld/")"
as 12345 mlctl status >/dev/null
kill -TERM $mld
code=0
wait $mld || code=$?
trap - EXIT
[[ $code -eq 0 ]] || { cat "$work/mld.log" >&2; fail "mld ends with $code on SIGTERM"; }
