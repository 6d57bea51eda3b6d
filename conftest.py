# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: their twins have an owner, and the machines begin first.

A run that is killed leaves its twins behind; the next one, in whatever checkout, ends them by that owner.

The order in which the tests' files go to the workers (`pytest -n 3 --dist loadfile`): machines first.

A virtual machine under emulation keeps about one core busy, so the long journeys begin first, each on a
worker, and all else fills what is left; more than two or three machines at a time only slow each other down.
Within a file the order stays, and a file stays on one worker.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgewright.twin.abandoned import OWNER_VARIABLE, mark

# What takes longest begins first; of the first three, two are machines.
_FIRST = (
    "test_journey.py",
    "test_journey_ubuntu_core.py",
    "test_scenarios.py",
    "test_modules_build.py",
    "test_bundle_install.py",
    "test_fleet.py",
    "test_rehearsal.py",
    "test_modules_vm.py",
    "test_twin_vm.py",
)


def pytest_configure() -> None:
    """Mark the twins of this run; the workers of one run share the mark of the process that started them."""
    os.environ.setdefault(OWNER_VARIABLE, mark(os.getpid()))


def _rank(item: pytest.Item) -> int:
    name = Path(str(item.fspath)).name
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first."""
    items.sort(key=_rank)
