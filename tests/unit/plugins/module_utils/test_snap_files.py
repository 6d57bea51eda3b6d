# SPDX-License-Identifier: Apache-2.0
"""Where snapd keeps snaps and components, and that the device's own watch keeps their digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import snap_digest, snap_files, watch

from tests.unit.plugins.made_system import MadeSystem

KERNEL: dict[str, Any] = {
    "name": "pc-kernel",
    "revision": "2011",
    "status": "active",
    "components": [
        {"name": "nvidia-580-erd-ko", "revision": "12"},
        {"name": "own", "revision": "x3"},
        {"name": "available", "revision": "unset"},
        {"name": "older", "revision": 0},
        {"name": "none"},
    ],
}
KO = "pc-kernel+nvidia-580-erd-ko"


def test_files_of_snaps_and_components() -> None:
    assert snap_files.file_of(KERNEL) == "pc-kernel_2011.snap"
    assert snap_files.components_of(KERNEL) == {"nvidia-580-erd-ko": "12", "own": "x3"}
    assert [snap_files.file_of(part) for part in snap_files.parts_of(KERNEL)] == [
        f"{KO}_12.comp",
        "pc-kernel+own_x3.comp",
    ]
    assert snap_files.parts_of({"name": "reader"}) == []


def test_the_watch_keeps_the_digests_of_what_the_release_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snap_digest, "KEPT", str(tmp_path / "digests.json"))
    files = {
        f"{snap_files.SNAPS}/{name}": name for name in ("reader_7.snap", f"{KO}_12.comp", "other_1.snap")
    }
    snaps = [
        {"name": "reader", "revision": "7", "status": "active"},
        {"name": "other", "revision": "1", "status": "active"},
        KERNEL,
    ]
    device = MadeSystem(files, {}, {"/v2/snaps": snaps})
    watch.keep_digests(device, {"runtime": {"snaps": {"reader": {}}}})
    assert list(json.loads((tmp_path / "digests.json").read_text())) == [f"{snap_files.SNAPS}/reader_7.snap"]
    watch.keep_digests(device, {"nvidia": {"components": {KO: {}}, "provider": {"name": "mesa-2404"}}})
    assert list(json.loads((tmp_path / "digests.json").read_text())) == [f"{snap_files.SNAPS}/{KO}_12.comp"]
    (tmp_path / "digests.json").unlink()
    watch.keep_digests(device, {"nvidia": {}, "runtime": {}})
    assert not (tmp_path / "digests.json").exists()
