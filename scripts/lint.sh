#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All checkers, each named; all are run even when one fails.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
failed=()
check() {
  local name=$1
  shift
  printf '== lint: %s\n' "$name"
  "$@" || failed+=("$name")
}
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
check "ruff check" ruff check .
check "ruff format" ruff format --check .
check mypy mypy
check yamllint yamllint --strict .
check ansible-lint ansible-lint --offline --profile production
check shellcheck shellcheck "${scripts[@]}"
check "role READMEs" python scripts/role_readme.py --check
check "NVIDIA stack page" python scripts/stack_page.py --check
check "OS page" python scripts/os_page.py --check
if [ ${#failed[@]} -gt 0 ]; then
  printf 'lint: failed: %s\n' "${failed[*]}"
  exit 1
fi
printf 'lint: clean\n'
