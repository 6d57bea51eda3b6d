#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every test that an hour on two cores has room for: lint first (cheap), then pytest. What this machine lacks is skipped
# by name, and what is left out is named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/lint.sh
printf '\n== tests\n'
echo "left out by name: Ubuntu Core's machines and the watch's faults (make test-machines), Debian 13 and the kernel 6.12" \
    "(make test-kernels)"
# Two workers; see conftest.py for what goes where.
exec pytest -v -n 2 --dist loadfile --no-loadscope-reorder --durations=25 -m "not machines and not other_kernels"
