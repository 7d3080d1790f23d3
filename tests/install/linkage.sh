#!/usr/bin/env bash
# libmlclient.so exports ml:: and ml_* and needs the C and C++ runtime and libdrm only; libmlengine.so exports
# mlengine_* only.
# usage: linkage.sh LIBMLCLIENT LIBMLENGINE
set -euo pipefail

client=$1
engine=$2
failed=0
refuse() {  # what, allowed pattern, names on stdin
  local extra
  extra=$(grep -vE "$2" || true)
  if [[ -n $extra ]]; then
    echo "$1:" >&2
    echo "$extra" | head -20 | c++filt >&2
    failed=1
  fi
}
exported() { nm -D --defined-only "$1" | awk '{print $3}'; }

needed=$(readelf -d "$client" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
refuse "libmlclient.so needs more than the C and C++ runtime and libdrm" \
  '^(libc|libm|libgcc_s|libstdc\+\+|libdrm|ld-linux[a-z0-9-]*)\.so\.[0-9]+$' <<<"$needed"
refuse "libmlclient.so exports foreign symbols" '^(ml_[a-z0-9_]+|_Z(N[KRO]*|T[ISTV]N|Th[a-z0-9_]*N|GVN)2ml.*)$' \
  < <(exported "$client")
refuse "libmlengine.so exports more than its C door" '^mlengine_[a-z0-9_]+$' < <(exported "$engine")

for name in ml_ mlengine_; do  # an empty table would pass the checks above
  library=$([[ $name == ml_ ]] && echo "$client" || echo "$engine")
  exported "$library" | grep -q "^$name" || { echo "$library exports no $name* function" >&2; failed=1; }
done
exit $failed
