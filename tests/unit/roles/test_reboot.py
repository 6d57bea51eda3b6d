# SPDX-License-Identifier: Apache-2.0
"""The one reboot of a run serves the areas kernel and nvidia: what of their drift makes it due."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
# On the controller itself the role names what a reboot is due for, and reboots nothing.
PLAY = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.include_role": {"name": "edgewright.factory.kernel", "tasks_from": "reboot"}}
        ],
    }
]


def drift(area: str, item: str, reboot: bool) -> dict[str, Any]:
    return {"area": area, "item": item, "reboot": reboot}


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "of both areas, what nothing else mends": (
        {
            "edgewright_state": [
                drift("kernel", "release", True),
                drift("nvidia", "nouveau", True),
                drift("nvidia", "cdi", False),
            ]
        },
        "needs a reboot, for release, nouveau.",
    ),
    "what the role read last counts": (
        {"edgewright_state": [drift("nvidia", "driver", True)], "__nvidia_after": []},
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_reboot_is_due(name: str, tmp_path: Path) -> None:
    states, words = CASES[name]
    (tmp_path / "play.yml").write_text(json.dumps(PLAY), encoding="utf-8")
    read = {
        variable: {"want": {"kernel": {}, "nvidia": {"driver": "1"}}, "drift": drifts}
        for variable, drifts in states.items()
    }
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", tmp_path / "play.yml"),
            *("-e", json.dumps({"ansible_connection": "local", "edgewright_release_dir": "/none", **read})),
        ],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is (words == ""), done.stdout
    assert words in done.stdout
