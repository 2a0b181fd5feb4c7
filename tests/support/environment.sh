#!/usr/bin/env bash
# Makes .venv with runbook installed editable: `environment.sh core`, `environment.sh test` with the test tools,
# `environment.sh fuzz` with what guides fuzzing by coverage, where it has a wheel for this Python.
# pip does the installing, so that the indexes, certificates and proxies are the ones that pip is configured with.
set -euo pipefail
cd "$(dirname "$0")/../.."
kind=${1:?core, test or fuzz}

python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done

if [[ ! -x .venv/bin/python ]] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  echo "==> .venv" >&2
  if [[ -n $python ]] && "$python" -m venv --clear .venv 2>/dev/null; then
    :
  elif command -v uv >/dev/null; then
    rm -rf .venv && uv venv --quiet --seed --python '>=3.11' .venv
  else
    rm -rf .venv
    echo "error: no Python 3.11 or newer that can make a virtual environment" >&2
    echo >&2
    echo "hint: install python3 and python3-venv (Debian: apt-get install python3-venv), or uv; or set PYTHON" >&2
    exit 6
  fi
fi

if [[ $kind == fuzz ]]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --group fuzz ||
    echo "NOT INSTALLED: atheris has no wheel for this Python; the readers are fuzzed by Hypothesis alone." >&2
  touch .venv/.fuzz
  exit
fi

echo "==> installing runbook$([[ $kind == test ]] && echo ' and its test tools') into .venv" >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
if [[ $kind == test ]]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group test
  touch .venv/.core
else
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable .
fi
touch ".venv/.$kind"
