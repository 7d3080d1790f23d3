#!/usr/bin/env bash
# Installs into a temporary prefix, then builds and runs programs against it as an application would: through
# find_package, through pkg-config, and in C. Each public header must also compile on its own.
# usage: install.sh BUILD
set -euo pipefail

build=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
cc=${CC:-cc}
cxx=${CXX:-c++}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" >"$work/install.log" || { cat "$work/install.log" >&2; exit 1; }

# The copy must not lean on the build tree: its libraries hold no path into it.
for library in $(find "$prefix" -name 'libml*.so'); do
  if grep -qF "$build" "$library"; then echo "$(basename "$library") names the build tree" >&2; exit 1; fi
done

echo "find_package"
cmake -S "$here/consumer" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >"$work/cmake.log" 2>&1 &&
  cmake --build "$work/cmake" >>"$work/cmake.log" 2>&1 || { cat "$work/cmake.log" >&2; exit 1; }
"$work/cmake/consumer"

echo "pkg-config"
pc=$(dirname "$(find "$prefix" -name mlclient.pc)")
export PKG_CONFIG_PATH=$pc
read -ra flags <<<"$(pkg-config --cflags mlclient)"
read -ra libs <<<"$(pkg-config --libs mlclient)"
libdir=$(pkg-config --variable=libdir mlclient)
"$cxx" -std=c++20 "${flags[@]}" "$here/consumer/consumer.cpp" -o "$work/consumer" "${libs[@]}"
LD_LIBRARY_PATH=$libdir "$work/consumer"

echo "C"
"$cc" -std=c11 -Wall -Wextra -Werror "${flags[@]}" "$here/consumer/consumer.c" -o "$work/consumer_c" "${libs[@]}"
LD_LIBRARY_PATH=$libdir "$work/consumer_c"

echo "headers"
for header in $(cd "$prefix/include" && find . -name '*.h' | sort); do
  echo "#include \"${header#./}\"" | "$cxx" -std=c++20 -Wall -Wextra -Werror -fsyntax-only "${flags[@]}" -x c++ - ||
    { echo "$header does not compile on its own" >&2; exit 1; }
done
