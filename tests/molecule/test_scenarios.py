# SPDX-License-Identifier: Apache-2.0
"""Each molecule scenario on a container twin, once; its output lies in a log, whose end a failure shows.

    pytest tests/molecule -k identity

Scenarios that need a VM twin (kernel, isolation, runtime, acceptance) run on the VM of the journey.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = ("authority", "identity", "depot_client", "depot", "drift_watch", "nvidia")
TAIL_LINES = 60
# A scenario takes one to three minutes on two idle cores; the first one also makes the twin's image.
LIMIT_S = 1200

pytestmark = [
    pytest.mark.container,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="container twins need root"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="container twins need podman"),
]


def molecule(*arguments: str, log: Path) -> int:
    """Run molecule in the checkout, all of its output into the log. Returns its exit status."""
    tools = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("EDGEWRIGHT_MOLECULE_INVENTORY", None)
    with log.open("a", encoding="utf-8") as stream:
        return subprocess.run(
            [tools / "molecule", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_S,
            check=False,
        ).returncode


@pytest.fixture(scope="module")
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A run that was cut off leaves molecule believing that its twins are there; a whole one ends them."""
    molecule("destroy", "--scenario-name", "default", log=tmp_path_factory.mktemp("molecule") / "destroy.log")


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, tmp_path: Path) -> None:
    log = tmp_path / f"{scenario}.log"
    try:
        status = molecule("test", "--scenario-name", scenario, log=log)
    except subprocess.TimeoutExpired:
        molecule("destroy", "--scenario-name", "default", log=log)
        raise
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
    assert status == 0, (
        f"molecule test --scenario-name {scenario} ended with status {status}; see {log}:\n{tail}"
    )
