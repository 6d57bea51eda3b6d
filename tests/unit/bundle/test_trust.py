# SPDX-License-Identifier: Apache-2.0
"""The trusted state of a controller: replaced whole or not at all, and never doubted in silence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edgewright.bundle.layout import blob_name
from edgewright.errors import EdgewrightError, InputError
from tests.unit.bundle import sticks
from tests.unit.bundle.sticks import Made, check, digest, refused, snapshot_of


def test_power_cut_while_accepting(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step is the last one, the state is the old one or the new one, whole."""
    made.accept()
    old = (made.trust / "current").readlink()
    newer = sticks.make(made.stick.parent, made.keys, "newer", {"x": b"newer"}, days=3)
    steps = [
        (Path, "mkdir"),
        (Path, "chmod"),
        (Path, "rename"),
        (Path, "symlink_to"),
        (Path, "replace"),
        (os, "fsync"),
    ]
    for place, step in steps:
        with monkeypatch.context() as patch, newer.open() as bundle:

            def cut(*_: object, **__: object) -> None:
                raise OSError(5, "power cut")

            patch.setattr(place, step, cut)
            with pytest.raises(EdgewrightError, match="the trusted state is as it was"):
                bundle.accept()
        assert (made.trust / "current").readlink() == old
        made.open(fingerprint=False).close()
    newer.accept()
    with refused("rollback"):
        made.open()
    assert len(list((made.trust / "states").iterdir())) == 1


def test_a_refused_bundle_leaves_no_trace(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    made.accept()
    before = snapshot_of(tmp_path)
    newer = sticks.make(tmp_path, made.keys, "newer", {"x": b"newer"}, days=3)
    (newer.stick / blob_name(digest(b"newer"))).write_bytes(b"NEWER")
    shutil.rmtree(newer.stick / "installer")
    with refused("missing"):
        newer.open()
    monkeypatch.setattr("tempfile.tempdir", None)
    assert snapshot_of(made.trust) == {
        name.removeprefix("trust/"): data for name, data in before.items() if name.startswith("trust/")
    }
    assert not list((tmp_path / "tmp").iterdir())
    made.open().close()


def test_accepted_meanwhile(made: Made) -> None:
    newer = sticks.make(made.stick.parent, made.keys, "newer", {"x": b"newer"}, days=3)
    with made.open() as older:
        newer.accept()
        with refused("state", "accepted meanwhile"):
            older.accept()
    with refused("rollback"):
        made.open()


@pytest.mark.parametrize(
    "name",
    ["floor.json", "metadata/timestamp.json", "metadata/targets.json", "metadata/root_history/1.root.json"],
)
@pytest.mark.parametrize("damage", ["gone", "empty", "changed"])
def test_damaged_trusted_state(made: Made, name: str, damage: str) -> None:
    made.accept()
    path = made.trust / "current" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes().replace(b"0", b"1"))
    with refused("state", "restore this directory"):
        check(made)


def test_trusted_state_of_another_kind(made: Made) -> None:
    made.trust.write_bytes(b"")
    with pytest.raises(InputError, match="expected a directory"):
        made.open()
    made.trust.unlink()
    made.trust.mkdir()
    (made.trust / "current").symlink_to("states/../../elsewhere")
    with refused("state", "expected six digits"):
        made.open()


def test_no_place_for_the_working_copy(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(EdgewrightError, match="TMPDIR names another place for it"):
        made.open()


def test_nothing_is_left_open(made: Made, tmp_path: Path) -> None:
    """Descriptors and working copies are given back, whether a bundle is taken or refused."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a directory of the kernel's
    for _ in range(20):
        made.open().close()
        with pytest.raises(InputError):
            made.open(stick=tmp_path / "nowhere")
    (made.stick / "install").unlink()
    for _ in range(20):
        with refused("missing"):
            made.open()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
