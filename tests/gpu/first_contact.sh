#!/usr/bin/env bash
# First contact with a card, without network and in at most 8 minutes: tests/gpu, the MFU benchmark, memory
# and speed predicted and measured on 8 layouts; one table, and one JSON that `launch plan --fit` takes.
# Gathering the wheels, and what follows: docs/slurm.md, "Your first hour on H100 nodes".
set -euo pipefail

usage="usage: first_contact.sh [--tiny] [--wheels FOLDER] [--python PYTHON] [--output FOLDER] [--minutes N]"

fail() {
  echo "first_contact: $1" >&2
  exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
wheels=$root/tests/gpu/wheels
[ -d "$wheels" ] || wheels=""
python=python3
output=first_contact/$(date +%Y%m%d-%H%M%S)
options=()

while [ $# -gt 0 ]; do
  case $1 in
    --tiny) options+=(--tiny) ;;
    -h | --help)
      echo "$usage"
      exit
      ;;
    --wheels | --python | --output | --minutes)
      [ $# -gt 1 ] || fail "$1 needs a value; $usage"
      case $1 in
        --wheels) wheels=$2 ;;
        --python) python=$2 ;;
        --output) output=$2 ;;
        --minutes) options+=(--minutes "$2") ;;
      esac
      shift
      ;;
    *) fail "$1 is no option; $usage" ;;
  esac
  shift
done

mkdir -p "$output"
output=$(cd "$output" && pwd)

if [ -n "$wheels" ]; then
  [ -d "$wheels" ] || fail "--wheels: $wheels is no folder"
  # A second run with the same --output finds its environment as it was.
  [ -x "$output/venv/bin/python" ] || "$python" -m venv "$output/venv" || fail "$python makes no environment"
  python=$output/venv/bin/python
  "$python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$wheels" \
    'megalaunch[train]' pytest || fail "--wheels: $wheels lacks what pip names above"
fi

# The checkout comes before a megalaunch that the wheels have installed.
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
missing=$("$python" -c '
from importlib.util import find_spec
print(*[name for name in ("hydra", "torch", "megatron", "deepspeed", "pytest") if find_spec(name) is None])
') || fail "$python does not run"
[ -z "$missing" ] || fail "$python has no $missing: give --wheels FOLDER, or --python PYTHON that has them"

python=$(command -v "$python")
case $python in /*) ;; *) python=$PWD/$python ;; esac
cd "$root"
exec "$python" -m tests.gpu.first_contact --output "$output" ${options[@]+"${options[@]}"}
