# SPDX-License-Identifier: Apache-2.0
"""What the measuring program says of the device: from within the very file that is sent there."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgewright.paths import collection_root
from edgewright.record.labels import pack

PROGRAM = collection_root() / "roles" / "acceptance" / "files" / "measure.py"
PLAN: dict[str, Any] = {
    "slice": "none.slice",
    "container": "edgewright-none",
    "packages": [],
    "identity": "/nonexistent",
    "snaps": {},
}
ASK = "import json, sys; sys.path.insert(0, sys.argv[1]); from device_facts import facts; "
ASK += "print(json.dumps(facts(json.loads(sys.argv[2]))))"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "a.pyz"
    pack(PROGRAM, PLAN, ["EW-000042"], path)
    return path


def _facts(packed: Path, plan: dict[str, Any]) -> dict[str, Any]:
    words = [sys.executable, "-I", "-c", ASK, str(packed), json.dumps(plan)]
    told: dict[str, Any] = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return told


def test_the_program_carries_all_its_files(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        assert {"__main__.py", "device_facts.py", "plan.json", "0.f32"} == set(archive.namelist())
    again = packed.with_name("b.pyz")
    pack(PROGRAM, PLAN, ["EW-000042"], again)
    assert again.read_bytes() == packed.read_bytes()


def test_a_machine_without_a_runtime_is_told_as_it_is(packed: Path) -> None:
    found = _facts(packed, PLAN)
    assert found["kernel"] in found["uname"]
    assert found["memory_kib"] > 0
    assert (found["images"], found["certificate_sha256"], found["partition"]) == ({}, None, None)
    assert found["container_memory"] == {"current_bytes": None, "peak_bytes": None}
    assert "snaps" not in found


def test_a_way_by_snaps_says_so_where_no_snapd_answers(packed: Path) -> None:
    found = _facts(packed, {**PLAN, "server": "snap.none.server.service"})
    assert isinstance(found["snaps"], dict)
    assert "edgewright-runtime" not in found["snaps"]
    assert "snapd" in found
