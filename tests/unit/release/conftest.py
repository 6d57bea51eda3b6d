# SPDX-License-Identifier: Apache-2.0
"""What the tests of releases share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.release.tiny import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A directory for the tiny release."""
    return Folder(tmp_path)
