#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every test but those of other kernels: lint first (cheap), then pytest. What this machine lacks is skipped by name, and
# what is left out is named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/lint.sh
printf '\n== tests\n'
echo "left out by name: the journeys on Debian 13 and on the kernel 6.12 (make test-kernels)"
# Three workers on two cores, because a machine waits as often as it computes; see conftest.py for what goes where.
exec pytest -v -n 3 --dist loadfile --no-loadscope-reorder --durations=40 -m "not other_kernels"
