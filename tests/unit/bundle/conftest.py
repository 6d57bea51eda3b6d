# SPDX-License-Identifier: Apache-2.0
"""A development set of keys and a small signed bundle, fresh for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgewright.bundle.keys import KeySet
from tests.unit.bundle import sticks


@pytest.fixture(scope="session")
def set_of_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys that were made once; tests copy them, history and all."""
    directory = tmp_path_factory.mktemp("keys") / "set"
    KeySet.develop(directory)
    return directory


@pytest.fixture
def keys(set_of_keys: Path, tmp_path: Path) -> KeySet:
    """A development set of keys."""
    shutil.copytree(set_of_keys, tmp_path / "keys")
    return KeySet.open(tmp_path / "keys")


@pytest.fixture
def made(keys: KeySet, tmp_path: Path) -> sticks.Made:
    """A signed bundle that no controller has accepted yet."""
    return sticks.make(tmp_path, keys)
