#!/usr/bin/env bash
# Make the virtual environment and install Ingot into it. Called by make; safe to repeat.
#   install.sh VENV        the project with its tests' tools
# INGOT_WHEELHOUSE=DIR installs from a folder of wheels, with no index.
set -euo pipefail
venv=$1
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}

fail() { echo "make: $1" >&2; exit 1; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$($python --version 2>&1) is too old; install Python 3.11 or newer, or set PYTHON=/path/to/python3.11"
"$python" -c 'import venv, ensurepip' 2>/dev/null \
  || fail "this Python has no venv module; on Debian: apt-get install python3-venv"

stamp=$venv/.installed
wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted $root" ]; then exit 0; fi

free=$(df -Pk "$root" | awk 'NR == 2 {print int($4 / 1048576)}')
[ "$free" -ge 6 ] || fail "$free GiB free at $root; the environment needs about 3 and the demo 1: free some space"
memory=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo 2>/dev/null || echo 99)
[ "$memory" -ge 3 ] || fail "$memory GiB of memory available; the demo needs 3: close something"

echo "installing into $venv (two to five minutes, 3 GB)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
if [ -n "${INGOT_WHEELHOUSE:-}" ]; then
  [ -d "$INGOT_WHEELHOUSE" ] || fail "INGOT_WHEELHOUSE=$INGOT_WHEELHOUSE is not a folder"
  pip+=(--no-index --find-links "$INGOT_WHEELHOUSE")
fi
torch=$(awk -F'[= ]+' '/^torch==/ {print $2}' "$root/constraints.txt")
if [ -n "${INGOT_WHEELHOUSE:-}" ]; then
  echo "torch $torch from the wheelhouse"
  "${pip[@]}" "torch==$torch"
elif command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then
  echo "torch $torch with CUDA: a GPU was seen"
  "${pip[@]}" "torch==$torch"
elif curl -sfI --max-time 5 https://download.pytorch.org/whl/cpu/torch/ >/dev/null 2>&1; then
  echo "torch $torch, CPU build"
  "${pip[@]}" "torch==$torch" --index-url https://download.pytorch.org/whl/cpu
else
  echo "torch $torch as pip finds it (PyTorch's CPU index does not answer)"
  "${pip[@]}" "torch==$torch"
fi
"${pip[@]}" -c "$root/constraints.txt" setuptools
"${pip[@]}" --no-build-isolation -c "$root/constraints.txt" -e "$root[dev,datatrove]" 2> >(grep -v 'is ignored: it is neither' >&2)
echo "$wanted $root" >"$stamp"
