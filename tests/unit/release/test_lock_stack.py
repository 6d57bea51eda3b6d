# SPDX-License-Identifier: Apache-2.0
"""Locking a release with an NVIDIA stack, on the example release; no archive is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from edgewright.cli.main import main
from edgewright.depot.blobs import sha256_file
from edgewright.device.profile import carried_profiles
from edgewright.errors import InputError
from edgewright.release.documents import LOCK_FILE, RELEASE_FILE, load_lock, read_release
from edgewright.release.lock import lock_release
from edgewright.release.stack.facts import load_facts
from edgewright.release.stack.locked import lock_stack
from tests.unit.release.stack.solving import DAY

ROOT = Path(__file__).resolve().parents[3]


class Example:
    """A copy of the example release with NVIDIA's driver."""

    def __init__(self, path: Path) -> None:
        shutil.copytree(ROOT / "releases" / "label-reader-t4", path)
        self.path, self.lock = path, path / LOCK_FILE

    def edit(self, old: str, new: str) -> None:
        """Change `release.yml`, and make the lock one of the changed file."""
        file = self.path / RELEASE_FILE
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        lock = self.lock.read_text()
        before = yaml.safe_load(lock)["release"]["sha256"]
        self.lock.write_text(lock.replace(before, sha256_file(file)))

    def refused(self) -> str:
        """Why it is not locked; the lock of before must stay as it was."""
        before = self.lock.read_bytes()
        with pytest.raises(InputError) as told:
            lock_release(self.path, images_only=True)
        assert self.lock.read_bytes() == before
        assert sorted(each.name for each in self.path.iterdir()) == ["models", LOCK_FILE, RELEASE_FILE]
        return str(told.value)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Example:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    return Example(tmp_path / "release")


def test_a_want_that_the_locked_packages_contradict_is_refused_by_name(example: Example) -> None:
    example.edit('"driver==535.309.01"', '"driver>=580"')
    told = example.refused()
    assert "no NVIDIA stack fits, so nothing is locked" in told
    assert "driver==535.309.01 is wanted (locked as package libcuda1)" in told
    assert f"driver>=580 is wanted ({example.path / RELEASE_FILE}:" in told


def test_a_waiver_that_ended_is_refused(example: Example) -> None:
    example.edit("until: 2027-06-30", "until: 2026-01-31")
    told = example.refused()
    assert "nvidia.rt_waiver: the waiver of Ada Example, line engineering ended on 2026-01-31" in told


def test_no_waiver_is_refused(example: Example) -> None:
    text = (example.path / RELEASE_FILE).read_text()
    start = text.index("  rt_waiver:")
    example.edit(text[start : text.index("\napt:")], "")
    assert "and the release carries no waiver" in example.refused()


def test_the_example_is_locked_with_what_the_facts_of_today_choose() -> None:
    release = ROOT / "releases" / "label-reader-t4"
    lock = load_lock(release)[0]
    found = lock_stack(read_release(release)[0], lock, [carried_profiles()], load_facts(), DAY)
    assert found == lock["nvidia"]


def test_an_expired_waiver_of_a_lock_is_named_by_its_check(
    example: Example, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stack", "check", str(example.path), "--on", "2027-07-01"]) == 1
    assert "the waiver of Ada Example, line engineering ended on 2027-06-30" in capsys.readouterr().out
