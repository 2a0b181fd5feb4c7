#!/usr/bin/env bash
# Prints the address of a Docker engine that answers, and fails when there is none.
# As root on Debian it installs and starts one; what it started ends with the process that called it.
set -uo pipefail
cd "$(dirname "$0")/../.."
owner=$PPID
log=${TMPDIR:-/tmp}/runbook-dockerd.log
pidfile=/var/run/docker.pid

address() {
  .venv/bin/python -c '
import sys
from runbook.engine.daemon import Absent, find
found = find()
if isinstance(found, Absent):
    sys.exit(f"{found.reason} (hint: {found.hint})")
print(found.address)'
}

fail() {
  echo "no Docker engine: $1" >&2
  exit 1
}

start() { # extra arguments of dockerd
  # A pid file that a crash left behind, or one of a machine that was copied, stops dockerd from starting.
  # One that is just ending, or ended and was not reaped yet, still has its name for a moment.
  local tries
  for ((tries = 0; tries < 20; tries++)); do
    [[ -f $pidfile ]] || break
    if ! grep -qsE '^Name:[[:space:]]*dockerd' "/proc/$(<"$pidfile")/status" \
      || grep -qsE '^State:[[:space:]]*Z' "/proc/$(<"$pidfile")/status"; then
      rm -f "$pidfile"
      break
    fi
    sleep 0.5
  done
  setsid dockerd "$@" >"$log" 2>&1 </dev/null &
  local daemon=$! waited
  for ((waited = 0; waited < 120; waited++)); do
    if address 2>/dev/null; then
      setsid bash -c "while kill -0 $owner 2>/dev/null; do sleep 1; done; kill $daemon 2>/dev/null" \
        >/dev/null 2>&1 </dev/null &
      return 0
    fi
    kill -0 "$daemon" 2>/dev/null || return 1
    sleep 0.5
  done
  kill "$daemon" 2>/dev/null
  return 1
}

reason=$(address 2>&1) && { echo "$reason"; exit 0; }
[[ -z ${DOCKER_HOST:-} && $(uname -s) == Linux ]] || fail "$reason"
((EUID == 0)) || fail "$reason; only root could start one here"

if ! command -v dockerd >/dev/null; then
  command -v apt-get >/dev/null || fail "dockerd is not installed and apt-get is not here to install it"
  echo "installing Docker Engine (docker.io)" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends docker.io; } \
    >"$log" 2>&1 </dev/null || fail "apt-get install docker.io: $(tail -n 3 "$log")"
  reason=$(address 2>/dev/null) && { echo "$reason"; exit 0; } # The package's own service may have started it.
fi

echo "starting dockerd (log: $log)" >&2
# Where the kernel gives no packet filter, containers without a network still run, and the tests need no other.
start || start --iptables=false --ip6tables=false --bridge=none || fail "dockerd did not start: $(tail -n 3 "$log")"
