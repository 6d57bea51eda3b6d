# SPDX-License-Identifier: Apache-2.0
"""A store of the test's own, whose assertions are believed as Canonical's are."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.snaps import trusted
from tests.unit.snaps import asserting as a


@pytest.fixture
def own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trust the roots of the test's own store in place of Canonical's; the cache is the test's own, too."""
    roots = a.roots()
    monkeypatch.setattr(trusted, "canonical_roots", lambda: roots)
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
