#!/usr/bin/env bash
# The whole check: static checks, then the tests with a Docker and a Podman engine where they can be had.
# Arguments go to pytest. pytest's closing line comes last; any failure makes the exit code non-zero.
set -uo pipefail
cd "$(dirname "$0")/../.."
status=0

tests/support/lint.sh || status=1

echo "==> strace"
if tests/support/strace.sh; then
  export RUNBOOK_REQUIRE_STRACE=${RUNBOOK_REQUIRE_STRACE:-1}
else
  echo "NOT RUN: every test marked strace. --trace native is untested in this run." >&2
  [[ ${RUNBOOK_REQUIRE_STRACE:-0} == 1 ]] && status=1
fi

echo "==> Docker engine"
if engine=$(tests/support/engine.sh docker); then
  [[ -n $engine ]] && export DOCKER_HOST=$engine
  export RUNBOOK_REQUIRE_DOCKER=${RUNBOOK_REQUIRE_DOCKER:-1}
  echo "reachable at ${DOCKER_HOST:-the default socket}"
else
  echo "NOT RUN: every test marked docker, because no Docker engine is reachable and none could be started." >&2
  echo "         Replay in a container is untested in this run." >&2
  if [[ ${RUNBOOK_REQUIRE_DOCKER:-0} == 1 ]]; then
    status=1
  fi
fi

echo "==> Podman engine"
if engine=$(tests/support/engine.sh podman); then
  export CONTAINER_HOST=$engine RUNBOOK_REQUIRE_PODMAN=${RUNBOOK_REQUIRE_PODMAN:-1}
  echo "reachable at $CONTAINER_HOST"
else
  echo "NOT RUN: every test marked podman, because no Podman engine is reachable and none could be started." >&2
  echo "         Replay with --engine podman is untested in this run." >&2
  [[ ${RUNBOOK_REQUIRE_PODMAN:-0} == 1 ]] && status=1
fi

echo "==> pytest"
((status)) && echo "error: a check before the tests failed, see above; the exit code will say so" >&2
.venv/bin/python -m pytest -n "${PYTEST_WORKERS:-2}" --dist loadgroup "$@" || status=$?
exit "$status"
