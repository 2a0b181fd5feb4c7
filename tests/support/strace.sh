#!/usr/bin/env bash
# Succeeds when strace can trace here; as root on Debian it is installed first.
set -uo pipefail
cd "$(dirname "$0")/../.."
log=${TMPDIR:-/tmp}/runbook-strace.log

if ! command -v strace >/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then
  echo "installing strace" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends strace; } \
    >"$log" 2>&1 </dev/null || echo "apt-get install strace: $(tail -n 3 "$log")" >&2
fi
.venv/bin/python -c '
import sys
from runbook.launch.native import missing
obstacle = missing()
if obstacle is not None:
    sys.exit(f"{obstacle} (hint: {obstacle.hint})")
print("strace can trace")'
