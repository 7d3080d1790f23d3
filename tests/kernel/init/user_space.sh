#!/bin/bash
# In the guest: the suites over the kernel transport, then the service as it is installed. TAP on stdout.
# usage: user_space.sh BUILD INSTALLED_ROOT MODEL [suite...]
set -u
build=$1 root=$2 model=$3
shift 3
suites=("$@")
[[ ${#suites[@]} -gt 0 ]] || suites=(client_suite lost_devices module hot_path hostile_clients service)

number=0 failed=0
report() { # exit code, name, log
  number=$((number + 1))
  if [[ $1 == 0 ]]; then
    echo "ok $number - $2"
  else
    failed=1
    echo "not ok $number - $2 (exit code $1)"
    [[ -z ${3:-} ]] || sed 's/^/# /' "$3"
  fi
}
attempt() { # name, command...
  local name=$1 log code=0
  shift
  log=$(mktemp)
  timeout --kill-after=5 "${ML_TEST_PROGRAM_TIMEOUT:-400}" "$@" >"$log" 2>&1 || code=$?
  report "$code" "$name" "$log"
  return "$code"
}

client_suite() { attempt "the client's suite" "$build/bin/with_daemon" --kernel "$build/bin/unit_client" --gtest_brief=1; }
lost_devices() { ML_TEST_KERNEL=1 attempt "lost devices" "$build/bin/system_client" --gtest_brief=1; }
module() { attempt "mld and its worker with the module" "$build/bin/system_kernel" --gtest_brief=1; }
hot_path() { attempt "no system call while both sides are awake" "$build/bin/hot_path_kernel" --gtest_brief=1; }
hostile_clients() { attempt "hostile clients" "$build/bin/system_kernel_hostile" --gtest_brief=1; }

# The installed service ------------------------------------------------------------------------------------------------

unit=/usr/lib/systemd/system/mld.service
value() { sed -n "s/^$1=//p" "$unit" | head -1; }
as_nobody() { setpriv --reuid 12345 --regid 12345 --clear-groups --inh-caps=-all "$@"; }

install_service() {
  cp -a "$root"/. / && ldconfig && systemd-sysusers mlaccel.conf || return 1
  modprobe mlaccel || return 1
  # Whoever these nodes belong to is udev's business.
  /lib/systemd/systemd-udevd --daemon && udevadm trigger && udevadm settle --timeout=60 || return 1
  [[ $(stat -c %U:%a /dev/mlaccel-control) == mlaccel:600 ]] || { stat /dev/mlaccel-control; return 1; }
  for folder in /run /var/lib; do
    install -d -o "$(value User)" -g "$(value Group)" -m 755 "$folder/mlaccel"
  done
}

# As the unit says; leaves its pid in $mld.
start_mld() {
  local capabilities command
  capabilities=$(value AmbientCapabilities | tr 'A-Z ' 'a-z,' | sed 's/cap_/+/g')
  read -ra command <<<"$(value ExecStart)"
  (
    umask "$(value UMask)"
    cd / || exit 1
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv --reuid "$(value User)" --regid "$(value Group)" --init-groups \
      --bounding-set="-all,$capabilities" --inh-caps="-all,$capabilities" --ambient-caps="-all,$capabilities" \
      --no-new-privs "${command[@]}"
  ) >/run/mld.log 2>&1 &
  mld=$!
  for ((i = 0; i < 600; ++i)); do
    mlctl status >/dev/null 2>&1 && return
    kill -0 "$mld" 2>/dev/null || break
    sleep 0.2
  done
  cat /run/mld.log
  return 1
}

node_is_there() {
  mlctl device show cpu0 -o json >/run/device.json
  udevadm settle --timeout=60
  node=$(sed -n 's/.*"kernel_node": *"\([^"]*\)".*/\1/p' /run/device.json)
  [[ -c $node && $(stat -c %a "$node") == 666 ]] || { cat /run/device.json /run/mld.log; ls -l /dev/accel /dev/dri; return 1; }
  minor=${node##*[!0-9]}
  # Nobody's, and no seat's: the display-like node that 6.1 makes besides.
  for card in /dev/dri/card*; do
    [[ ! -e $card || $(stat -c %a "$card") == 600 ]] || { ls -l /dev/dri; return 1; }
  done
}

# By nobody in particular, through the kernel, bit for bit what the embedded worker answers in this guest.
same_answers() { # reference
  as_nobody env MLACCEL="${1-kernel:$minor}" "$build/bin/run_model" "$(id -un)/fashion" >/run/kernel.answer 2>/run/kernel.transport || {
    cat /run/kernel.transport /run/mld.log
    return 1
  }
  grep -q "^kernel:$minor$" /run/kernel.transport || { cat /run/kernel.transport; return 1; }
  cmp /run/embedded.answer /run/kernel.answer
}

kill_worker() {
  worker=$(pgrep -P "$mld" -x mld-worker) && kill -9 "$worker" || return 1
  for ((i = 0; i < 300; ++i)); do
    next=$(pgrep -P "$mld" -x mld-worker)
    [[ -n $next && $next != "$worker" ]] && mlctl device show cpu0 -o json | grep -q '"state": *"ready"' && return
    sleep 0.2
  done
  cat /run/mld.log
  return 1
}

service() {
  local log=/run/service.log
  step() { # name, function...
    local name=$1 code=0
    shift
    "$@" >"$log" 2>&1 || code=$?
    report "$code" "service: $name" "$log"
    return "$code"
  }
  step "it is installed, and udev gives mld the control node" install_service || return
  step "mld starts as the unit says" start_mld || return
  step "everybody may open the device's node" node_is_there || return
  step "the demo's model is registered" "$build/bin/run_model" --publish fashion "$model" || return
  MLACCEL=embedded "$build/bin/run_model" "$model" >/run/embedded.answer 2>/dev/null
  step "inference through the kernel is what the embedded worker answers" same_answers
  step "a program that names no transport takes the kernel's" same_answers ""
  step "a killed worker is replaced" kill_worker
  step "and the answers stay the same" same_answers
  kill -TERM "$mld"
  step "mld ends on SIGTERM" wait "$mld"
  step "the module can be removed then" modprobe -r mlaccel
}

modprobe mlaccel || { echo "not ok 1 - mlaccel can be loaded"; exit 1; }
for suite in "${suites[@]}"; do "$suite"; done
echo "1..$number"
exit "$failed"
