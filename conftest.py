# SPDX-License-Identifier: Apache-2.0
"""The order in which the tests' files go to the workers (`pytest -n 2 --dist loadfile`): machines first.

A virtual machine under emulation keeps one core busy, so the long journeys begin first, each on a worker, and
all else fills what is left. Within a file the order stays, and a file stays on one worker.
"""

from __future__ import annotations

from pathlib import Path

import pytest

# What takes longest begins first.
_FIRST = (
    "test_journey.py",
    "test_rehearsal.py",
    "test_scenarios.py",
    "test_modules_vm.py",
    "test_modules_build.py",
    "test_fleet.py",
    "test_twin_vm.py",
    "test_bundle_install.py",
)


def _rank(item: pytest.Item) -> int:
    name = Path(str(item.fspath)).name
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first."""
    items.sort(key=_rank)
