#!/usr/bin/env bash
# Installs the Debian packages that mlaccel needs; packages already there are left alone.
# usage: install-deps.sh [--check] [build] [test] [lint] [bench] [kernel]      (default: build test)
# --check only says what is missing and exits 1 if anything is. Exit 2: this machine can't be served, with the reason.
set -euo pipefail

declare -A packages=(
  [build]="build-essential cmake ninja-build ccache pkg-config lld python3 libdnnl-dev libhwy-dev libflatbuffers-dev
           flatbuffers-compiler libprotobuf-dev protobuf-compiler libgrpc++-dev protobuf-compiler-grpc liburing-dev libdrm-dev
           libsqlite3-dev libtomlplusplus-dev libcli11-dev libspdlog-dev libseccomp-dev libssl-dev"
  [test]="libgtest-dev dataset-fashion-mnist python3-venv groff-base systemd procps"
  [lint]="clang clang-format clang-tidy libclang-rt-14-dev"
  [bench]="python3-torch"
  [kernel]="linux-headers-amd64 linux-headers-6.12-amd64 linux-source-6.1 build-essential gcc-multilib flex bison bc cpio
            kmod xz-utils libelf-dev libssl-dev libdrm-dev liburing-dev sparse dkms qemu-system-x86 busybox-static"
)

say() { echo "install-deps: $*" >&2; }
fail() { say "$*"; exit 2; }

check=false
groups=()
for arg in "$@"; do
  case "$arg" in
    --check) check=true ;;
    -h|--help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
    *) [[ -v packages[$arg] ]] || fail "unknown group '$arg'; groups are: ${!packages[*]}"; groups+=("$arg") ;;
  esac
done
[[ ${#groups[@]} -gt 0 ]] || groups=(build test)

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
  fail "no dpkg and apt-get here; install the equivalents of these Debian 12 packages yourself: ${packages[*]}"

missing=()
for group in "${groups[@]}"; do
  for package in ${packages[$group]}; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
  done
done

if [[ ${#missing[@]} -eq 0 ]]; then
  say "all packages for ${groups[*]} are installed"
  exit 0
fi
say "missing: ${missing[*]}"
if $check; then exit 1; fi

root=()
if [[ $EUID -ne 0 ]]; then
  command -v sudo >/dev/null || fail "not root and no sudo; as root run: apt-get install ${missing[*]}"
  root=(sudo)
  say "using sudo"
fi
export DEBIAN_FRONTEND=noninteractive
install=("${root[@]}" apt-get install -y --no-install-recommends "${missing[@]}")
say "running: ${install[*]}"
if ! "${install[@]}" >&2; then
  say "refreshing the package lists and trying once more"
  "${root[@]}" apt-get update >&2 || fail "apt-get update failed (see above)"
  "${install[@]}" >&2 || fail "apt-get install failed (see above)"
fi
