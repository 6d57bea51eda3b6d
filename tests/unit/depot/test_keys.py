# SPDX-License-Identifier: Apache-2.0
"""The release key's signatures: of one moment, and the same bytes each time."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgewright.depot import keys as module
from edgewright.depot.keys import PUBLIC_KEY_FILE, ReleaseKey

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")


@pytest.fixture
def key(tmp_path: Path) -> ReleaseKey:
    """A key that was made just now."""
    made = ReleaseKey(tmp_path / "keys")
    made.ensure()
    return made


def made_at(tmp_path: Path) -> int:
    """Seconds since 1970 at which the key was made."""
    told = subprocess.run(
        ["gpg", "--list-packets", tmp_path / "keys" / PUBLIC_KEY_FILE],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(re.findall(r"created (\d+), expires", told.stdout)[0])


def signed_at(signature: bytes) -> int:
    """Seconds since 1970 that a signature says of itself."""
    told = subprocess.run(["gpg", "--list-packets"], input=signature, capture_output=True, check=True)
    return int(re.findall(rb"version 4, created (\d+)", told.stdout)[0])


@pytest.mark.parametrize("before_s", [86_400, 1, 0], ids=["a day before its key", "a second", "now"])
def test_a_signature_is_of_its_moment_or_of_its_keys(key: ReleaseKey, tmp_path: Path, before_s: int) -> None:
    moment = datetime.fromtimestamp(int(time.time()) - before_s, UTC)
    first = key.sign_apart(b"bundle", moment)
    assert signed_at(first) == max(int(moment.timestamp()), made_at(tmp_path))
    assert key.sign_apart(b"bundle", moment) == first


def test_gpg_is_not_told_the_present_second() -> None:
    """It would take that for no faked time, and its clock would go on."""
    now = int(time.time())
    options = module._as_of(now, 0)
    assert time.time() >= now + 1
    assert options == ["--faked-system-time", f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}!"]
