# SPDX-License-Identifier: Apache-2.0
"""Packages for a controller come from the target of the release that the controller is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgewright.bundle.controller import Places
from edgewright.bundle.lone import install_packages
from edgewright.errors import InputError
from edgewright.release.documents import LOCK_FILE, dump_lock, load_lock_file
from tests.unit.bundle.small_release import make_release

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt-get is missing")

LACKING = "edgewright-no-such-package"


def _install(folder: Path, monkeypatch: pytest.MonkeyPatch, machine: str, *arches: str) -> None:
    """Ask for a package that no machine has; the release's first target is amd64."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(folder / "cache"))
    release = make_release(folder / "release", ("one",))
    lock, _ = load_lock_file(release / LOCK_FILE)
    part = {key: lock[key] for key in ("kernel", "apt", "python")}
    targets: list[dict[str, Any]] = [{"os": {**lock["os"], "arch": arch}, **part} for arch in arches]
    (release / LOCK_FILE).write_bytes(dump_lock({**lock, **({"targets": targets} if targets else {})}))
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    install_packages(Places(folder), [LACKING])


@pytest.mark.parametrize(
    ("machine", "arches", "told"),
    [
        ("x86_64", (), f"does not carry {LACKING}"),
        ("aarch64", ("arm64",), f"does not carry {LACKING}"),
        ("aarch64", (), "it is arm64, the release has packages for amd64 only; add a target for arm64"),
        (
            "riscv64",
            ("arm64",),
            "expected a target .* on riscv64, it has bookworm on amd64, bookworm on",
        ),
    ],
)
def test_the_machines_own_target_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, arches: tuple[str, ...], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        _install(tmp_path, monkeypatch, machine, *arches)
