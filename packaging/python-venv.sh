#!/usr/bin/env bash
# Makes a Python environment with what is in a requirements file; does nothing when it is up to date.
# usage: python-venv.sh [DIRECTORY [REQUIREMENTS]]
#   default: build/venv, with what the ONNX tests compare against and what the mlctl tests check with
set -euo pipefail

venv=${1:-build/venv}
requirements=${2:-$(dirname "$0")/requirements.txt}
stamp=$venv/requirements.installed

if cmp -s "$requirements" "$stamp"; then
  echo "python-venv: $venv is up to date" >&2
  exit 0
fi
echo "python-venv: installing $(grep -vc '^#' "$requirements") packages into $venv" >&2
rm -f "$stamp"
python3 -m venv "$venv" || { echo "python-venv: python3 -m venv failed; run packaging/install-deps.sh test" >&2; exit 2; }
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" ||
  { echo "python-venv: pip failed (see above); these packages are needed from PyPI" >&2; exit 2; }
cp "$requirements" "$stamp"
