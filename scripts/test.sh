#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every test: lint first (cheap), then pytest. What this machine lacks is skipped by name. Those on a snapd twin
# and the faults that a device's own watch finds are not in it yet: they were not seen to pass in one go. Those of
# other kernels take too long, and were not seen to pass either.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/lint.sh
printf '\n== tests\n'
echo "left out by name: the tests on a snapd twin (make test-ubuntu-core), the watch's faults (make test-watch-faults)," \
    "Debian 13 and the kernel 6.12 (make test-kernels)"
# Two workers; see conftest.py for what goes where.
exec pytest -v -n 2 --dist loadfile --no-loadscope-reorder --durations=25 \
    -m "not ubuntu_core and not watch_faults and not other_kernels"
