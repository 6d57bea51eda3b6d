# SPDX-License-Identifier: Apache-2.0
"""How the tests share two cores: files go whole to one of two workers, machines first.

A virtual machine under emulation keeps one core busy, so the long journeys begin first, each on a worker, and
all else fills what is left. Tests with containers share names and addresses: they stay on one worker.
"""

from __future__ import annotations

from pathlib import Path

import pytest

# What takes longest begins first.
_FIRST = ("test_journey.py", "test_power_loss.py", "test_scenarios.py", "test_twin_vm.py")


def _rank(item: pytest.Item) -> int:
    name = Path(str(item.fspath)).name
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group by file (containers: one group), and put the long files first; order within a file stays."""
    for item in items:
        shared = item.get_closest_marker("container") is not None
        item.add_marker(pytest.mark.xdist_group("container" if shared else str(item.fspath)))
    items.sort(key=_rank)
