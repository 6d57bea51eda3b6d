#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every test: lint first (cheap), then pytest. What this machine lacks is skipped by name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/lint.sh
printf '\n== tests\n'
exec pytest -v --durations=15
