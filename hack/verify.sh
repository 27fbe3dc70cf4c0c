#!/usr/bin/env bash
# Runs all static checks, and fails if one of them fails.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PWD/hack/cluster/bin:$PATH"
failed=()

check() { # check NAME COMMAND...
  local name=$1 output start=$SECONDS
  shift
  if output="$("$@" 2>&1)"; then
    printf 'ok      %-34s %3d s\n' "$name" $((SECONDS - start))
  else
    printf 'FAILED  %-34s %3d s\n%s\n' "$name" $((SECONDS - start)) "$output"
    failed+=("$name")
  fi
}

shell_syntax() {
  local script
  for script in hack/*.sh images/*.sh findings/*.sh .ci/run; do bash -n "$script" || return 1; done
}

check "locked dependencies are fresh" python hack/lock.py --check
check "generated files are fresh" python hack/generate.py --check
check "ruff check" ruff check
check "ruff format" ruff format --check
check "mypy" mypy
check "mypy of hack" mypy hack/*.py
check "import-linter" lint-imports
check "shell scripts parse" shell_syntax
# The output is shown, because the first run takes minutes.
python3 hack/cluster build helm kubeconform apiserver || failed+=("programs for the checks below")
check "helm lint" helm lint --strict charts/keras-operator
check "kubeconform and the API server" python hack/manifests.py

if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${#failed[@]} of the checks above" >&2
  exit 1
fi
