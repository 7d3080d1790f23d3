#!/bin/bash
# In the guest: the module, its KUnit suites where the kernel has KUnit, then every test program, one after the other.
# usage: suite.sh FOLDER_OF_PROGRAMS [program...]
# What each program prints is framed by '# program: NAME' and '# exit: CODE', which tap_summary.py reads.
cd "$(dirname "$0")/../../.." || exit 1
folder=$1
shift
names=("$@")
if [[ ${#names[@]} == 0 ]]; then
  mapfile -t names < <(cd "$folder" && ls; cd "$OLDPWD/tests/kernel/guest" && ls -- *.sh 2>/dev/null)
fi

if modinfo mlaccel_kunit >/dev/null 2>&1; then
  modprobe mlaccel_kunit && modprobe -r mlaccel_kunit || echo "not ok 1 - mlaccel_kunit can be loaded and removed"
fi
if ! modprobe mlaccel; then
  echo "not ok 1 - mlaccel can be loaded"
  exit 1
fi

failed=0
for name in "${names[@]}"; do
  program=$folder/$name
  [[ $name != *.sh ]] || program=tests/kernel/guest/$name
  echo "# program: $name"
  start=$SECONDS
  echo "mlaccel tests: $name" > /dev/kmsg
  timeout --kill-after=5 "${ML_TEST_PROGRAM_TIMEOUT:-600}" "$program"
  status=$?
  echo "# exit: $status after $((SECONDS - start)) s"
  [[ $status == 0 ]] || failed=1
done
exit "$failed"
