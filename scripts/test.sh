#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every test: lint first (cheap), then pytest. What this machine lacks is skipped by name. Those of other kernels are
# not in it: they take too long, and were not seen to pass.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/lint.sh
printf '\n== tests\n'
echo "left out by name: Debian 13 and the kernel 6.12 (make test-kernels)"
# Two workers; see conftest.py for what goes where.
exec pytest -v -n 2 --dist loadfile --no-loadscope-reorder --durations=25 -m "not other_kernels"
