#!/usr/bin/env bash
# Every static check, all of them even when one fails; non-zero when any failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
bin=.venv/bin
failed=()

check() {
  local name=$1
  shift
  echo "==> $name"
  "$@" || failed+=("$name")
}

check "ruff check" "$bin/ruff" check runbook tests examples
check "ruff format" "$bin/ruff" format --check --quiet runbook tests examples
check "mypy --strict" "$bin/mypy"
check "import-linter" "$bin/lint-imports"
check "interrogate" "$bin/interrogate" runbook

if ((${#failed[@]})); then
  printf 'error: static checks failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
