#!/usr/bin/env bash
# `engine.sh docker` or `engine.sh podman`: prints the address of an engine that answers, and fails when there is none.
# As root on Debian it installs and starts one; what it started ends with the process that called it.
set -uo pipefail
cd "$(dirname "$0")/../.."
name=${1:?docker or podman}
owner=$PPID
log=${TMPDIR:-/tmp}/runbook-$name.log
declare -A packages=([docker]=docker.io [podman]="podman catatonit") daemons=([docker]=dockerd [podman]=podman)
declare -A given=([docker]=${DOCKER_HOST:-} [podman]=${CONTAINER_HOST:-})

address() {
  .venv/bin/python -c '
import sys
from runbook.engine.daemon import Absent
from runbook.registry import members
found = members("engine")[sys.argv[1]].find()
if isinstance(found, Absent):
    sys.exit(f"{found.reason} (hint: {found.hint})")
print(found.address)' "$name"
}

fail() {
  echo "no $name engine: $1" >&2
  exit 1
}

watched() { # command of a daemon: start it, wait until it answers, and have it end with our caller
  setsid "$@" >"$log" 2>&1 </dev/null &
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

start_docker() { # extra arguments of dockerd
  # A pid file that a crash left behind, or one of a machine that was copied, stops dockerd from starting.
  # One that is just ending, or ended and was not reaped yet, still has its name for a moment.
  local pidfile=/var/run/docker.pid tries
  for ((tries = 0; tries < 20; tries++)); do
    [[ -f $pidfile ]] || break
    if ! grep -qsE '^Name:[[:space:]]*dockerd' "/proc/$(<"$pidfile")/status" \
      || grep -qsE '^State:[[:space:]]*Z' "/proc/$(<"$pidfile")/status"; then
      rm -f "$pidfile"
      break
    fi
    sleep 0.5
  done
  watched dockerd "$@"
}

start_podman() {
  local runtime=()
  # Where Docker was first, its runtime is there and Podman's own is not.
  command -v crun >/dev/null || runtime=(--runtime runc)
  mkdir -p /run/podman
  # Its monitor leaves a file `oom` where it was started.
  watched env --chdir=/run/podman podman "${runtime[@]}" system service --time 0 unix:///run/podman/podman.sock
}

reason=$(address 2>&1) && { echo "$reason"; exit 0; }
[[ -z ${given[$name]} && $(uname -s) == Linux ]] || fail "$reason"
((EUID == 0)) || fail "$reason; only root could start one here"

if ! command -v "${daemons[$name]}" >/dev/null; then
  command -v apt-get >/dev/null || fail "${daemons[$name]} is not installed and apt-get is not here to install it"
  echo "installing ${packages[$name]}" >&2
  # shellcheck disable=SC2086
  { apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends ${packages[$name]}; } \
    >"$log" 2>&1 </dev/null || fail "apt-get install ${packages[$name]}: $(tail -n 3 "$log")"
  reason=$(address 2>/dev/null) && { echo "$reason"; exit 0; } # The package's own service may have started it.
fi

echo "starting ${daemons[$name]} (log: $log)" >&2
case $name in
  # Where the kernel gives no packet filter, containers without a network still run, and the tests need no other.
  docker) start_docker || start_docker --iptables=false --ip6tables=false --bridge=none ;;
  podman) start_podman ;;
esac || fail "${daemons[$name]} did not start: $(tail -n 3 "$log")"
