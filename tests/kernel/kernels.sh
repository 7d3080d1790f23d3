#!/usr/bin/env bash
# Brings a kernel to test on into the cache and prints its folder there, which holds
#   vmlinuz       what QEMU starts                release       what uname -r says in the guest
#   lib/modules/  the kernel's own modules        build/        what `make -C ... M=` builds against
# usage: kernels.sh 6.1|6.12|debug...
# 6.1 and 6.12 are Debian's own, image and headers of one version; debug is Debian's 6.1 source with config/debug.config
# and KASAN, lockdep, fault injection and KUnit.
# The cache is $MLACCEL_KERNEL_CACHE, by default ~/.cache/mlaccel/kernels. Everything is written beside it and renamed,
# so a killed or concurrent run leaves nothing half made.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${MLACCEL_KERNEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mlaccel/kernels}
# Part of the debug kernel's key: raise it when what this script makes changes.
recipe=1

say() { echo "kernels: $*" >&2; }
fail() { say "$*"; exit 1; }

# The version that apt would install: the kernel under test follows Debian's.
candidate() {
  apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p' | head -1
}

depends_on() { # package, prefix of the dependency's name
  apt-cache depends --important "$1" 2>/dev/null | sed -n "s/^ *Depends: \($2[^ ]*\)\$/\1/p" | head -1
}

download() { # folder, package=version...
  local folder=$1 log=$1/apt.log
  shift
  # The folder is ours alone, so apt may not use its unprivileged user for it.
  (cd "$folder" && apt-get -o APT::Sandbox::User=root download "$@" >"$log" 2>&1) ||
    { cat "$log" >&2; fail "could not download $*; is the package list fresh (apt-get update)?"; }
}

# Debian's image and headers, into $work.
fetch_debian() { # meta package of the image, version
  local image version=$2 release headers common kbuild work_build
  image=$(depends_on "$1" linux-image-)
  release=${image#linux-image-}
  headers=linux-headers-$release
  common=$(depends_on "$headers" linux-headers-)
  kbuild=$(depends_on "$headers" linux-kbuild-)
  say "downloading $image and its headers, version $version"
  mkdir "$work/debs"
  download "$work/debs" {"$image","$headers","$common","$kbuild"}="$version"
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work"; done
  rm -rf "$work/debs" "${work:?}/usr/share" "$work"/boot/System.map-* "$work/lib/modules/$release"/{build,source}
  mv "$work/boot/vmlinuz-$release" "$work/vmlinuz"
  # Debian's Makefile names its other half by an absolute path.
  work_build=$work/usr/src/$headers
  echo "include ../$common/Makefile" > "$work_build/Makefile"
  ln -s "usr/src/$headers" "$work/build"
  depmod -b "$work" "$release"
  echo "$release" > "$work/release"
}

unpack_source() { # version
  local tarball=/usr/src/linux-source-6.1.tar.xz
  if [[ $(dpkg-query -W -f '${Version}' linux-source-6.1 2>/dev/null) != "$1" ]]; then
    mkdir "$work/debs"
    download "$work/debs" "linux-source-6.1=$1"
    dpkg-deb -x "$work"/debs/*.deb "$work/debs"
    tarball=$work/debs$tarball
  fi
  mkdir "$work/build"
  tar -xJf "$tarball" -C "$work/build" --strip-components 1
  rm -rf "$work/debs"
}

require_config() { # allnoconfig drops silently what cannot be had
  local line missing=0
  while read -r line; do
    [[ $line == CONFIG_*=* && $line != *=n ]] || continue
    grep -qxF "$line" "$1" || { say "the debug kernel would lack $line"; missing=1; }
  done < "$here/config/debug.config"
  [[ $missing == 0 ]] || exit 1
}

# The debug kernel, into $work. The tree is built in place: then nothing in it names its folder, which is renamed.
build_debug() { # version
  local log=$cache/debug.log
  say "building the debug kernel from Debian's linux-source-6.1 $1 (8 minutes or more; $log)"
  unpack_source "$1"
  cat "$here/config/Kconfig.deps" >> "$work/build/Kconfig"
  (
    cd "$work/build"
    export KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=mlaccel KBUILD_BUILD_HOST=mlaccel
    make KCONFIG_ALLCONFIG="$here/config/debug.config" allnoconfig
    require_config .config
    make -j"${JOBS:-$(nproc)}" bzImage modules
    make INSTALL_MOD_PATH="$work" modules_install
    cp arch/x86/boot/bzImage "$work/vmlinuz"
    cat include/config/kernel.release > "$work/release"
    # What M= needs stays, as in Debian's header packages; checkpatch is among the scripts.
    find . -mindepth 1 -maxdepth 1 ! -name .config ! -name Makefile ! -name Module.symvers ! -name System.map \
      ! -name scripts ! -name include ! -name arch ! -name tools -exec rm -rf {} +
    find arch -mindepth 1 -maxdepth 1 ! -name x86 -exec rm -rf {} +
    find tools -mindepth 1 -maxdepth 1 ! -name objtool ! -name include -exec rm -rf {} +
    find arch tools include '(' -name '*.o' -o -name '*.a' -o -name '.*.cmd' -o -name '*.c' ')' -delete
    rm -rf arch/x86/boot/compressed/vmlinux* arch/x86/boot/*.bin arch/x86/boot/bzImage
  ) >"$log" 2>&1 || { tail -20 "$log" >&2; fail "the debug kernel does not build: see $log"; }
  rm -f "$work/lib/modules/$(cat "$work/release")"/{build,source}
}

bring() { # name: 6.1, 6.12 or debug
  local name=$1 key version meta hash
  case $name in
    6.1) meta=linux-image-amd64 ;;
    6.12) meta=linux-image-6.12-amd64 ;;
    debug) meta=linux-source-6.1 ;;
    *) fail "unknown kernel '$name'; there are 6.1, 6.12 and debug" ;;
  esac
  version=$(candidate "$meta")
  [[ -n $version ]] || fail "apt knows no $meta; run apt-get update"
  key=$name-$version
  if [[ $name == debug ]]; then
    hash=$({ cat "$here"/config/*; gcc -dumpfullversion; echo "$recipe"; } | sha256sum | cut -c 1-12)
    key+=-$hash
  fi
  if [[ ! -e $cache/$key/release ]]; then
    mkdir -p "$cache"
    exec 9>"$cache/$key.lock"
    flock -n 9 || { say "another run brings $key; waiting for it"; flock 9; }
    if [[ ! -e $cache/$key/release ]]; then
      work=$cache/$key.part
      rm -rf "$work"
      mkdir "$work"
      if [[ $name == debug ]]; then build_debug "$version"; else fetch_debian "$meta" "$version"; fi
      mv -T "$work" "$cache/$key"
    fi
    exec 9>&-
  fi
  echo "$cache/$key"
}

[[ $# -gt 0 ]] || { sed -n '2,9s/^# //p' "$0"; exit 2; }
for name in "$@"; do bring "$name"; done
