# SPDX-License-Identifier: Apache-2.0
"""What a rehearsal reads out of a playbook's output, its site, and what it refuses to begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.bundle.controller import Places
from edgewright.bundle.rehearsal.controller import last_line, last_task
from edgewright.bundle.rehearsal.run import failure, recap
from edgewright.bundle.rehearsal.site import DEVICE, device_twin, target_of, write_site
from edgewright.errors import InputError
from edgewright.twin.inventory import read_twins

OUTPUT = """PLAY [Converge] ***
TASK [edgewright.factory.kernel : install | Install the locked kernel] ***
fatal: [rehearsal-01]: FAILED! => {"changed": false, "msg": "apt failed", "stderr": "E: Unable to correct", \
"stdout": "Reading...\\nThe following packages have unmet dependencies:\\n linux-image-rt : Depends: \
linux-base (>= 4.3) but it is not installable\\n"}
PLAY RECAP ***
localhost                  : ok=30   changed=12   unreachable=0    failed=0    skipped=4    rescued=0
rehearsal-01               : ok=20   changed=7    unreachable=0    failed=1    skipped=2    rescued=0
"""


def test_a_failure_names_task_host_and_what_apt_lacked() -> None:
    told = failure(OUTPUT)
    assert told.startswith(
        "rehearsal-01, task edgewright.factory.kernel : install | Install the locked kernel: "
    )
    assert "apt failed" in told
    assert "linux-image-rt : Depends: linux-base (>= 4.3) but it is not installable" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            'TASK [ping]\nfatal: [a]: UNREACHABLE! => {"msg": "no route", "unreachable": true}',
            "a, task ping: no route",
            id="unreachable",
        ),
        pytest.param(
            'TASK [apt]\nfailed: [a] (item={"x": 1}) => {"msg": "no"}\n', "a, task apt: no", id="of a loop"
        ),
        pytest.param("TASK [apt]\nfatal: [a]: FAILED! => {broken}", "a, task apt: {broken}", id="not JSON"),
        pytest.param("TASK [apt]\nok: [a] => {}\n", "", id="nothing failed"),
    ],
)
def test_other_failures(text: str, told: str) -> None:
    assert failure(text) == told


def test_recap() -> None:
    assert recap(OUTPUT, "rehearsal-01")["changed"] == 7
    assert recap(OUTPUT, "rehearsal-02") == {}


def test_progress_lines() -> None:
    assert last_task(61.4, OUTPUT) == (
        "  61 s: 1 tasks so far, edgewright.factory.kernel : install | Install the locked kernel"
    )
    assert last_line(3.0, "one\rtwo\n\n") == "  3 s: two"
    assert last_task(0.0, "") == "  0 s: 0 tasks so far, starting"


def _part(family: str, arch: str, suite: str = "bookworm") -> dict[str, Any]:
    return {"os": {"family": family, "suite": suite, "arch": arch}}


def test_the_first_part_that_a_twin_can_be_is_rehearsed() -> None:
    targets = [_part("debian", "amd64", "trixie"), _part("debian", "amd64")]
    part, others = target_of({"release": {"name": "x"}, **_part("debian", "arm64"), "targets": targets})
    assert part["os"] == {"family": "debian", "suite": "bookworm", "arch": "amd64"}
    assert others == ["debian bookworm arm64", "debian trixie amd64"]


@pytest.mark.parametrize(("arch", "suite"), [("arm64", "bookworm"), ("amd64", "trixie")])
def test_a_release_without_a_twin_is_refused(arch: str, suite: str) -> None:
    with pytest.raises(InputError, match=rf"it is for debian {suite} {arch}; a twin can stand in for debian"):
        target_of({"release": {"name": "x"}, **_part("debian", arch, suite)})


def test_the_twins_inventory_is_the_twin_that_is_removed(tmp_path: Path) -> None:
    """What starts it and what forgets it agree."""
    inventory = write_site(tmp_path, Places(Path("/var/lib/edgewright")), "bookworm", "amd64")
    assert read_twins(inventory) == {DEVICE: device_twin(tmp_path)}


def test_the_site_serves_the_bundle_and_starts_no_twin(tmp_path: Path) -> None:
    write_site(tmp_path, Places(Path("/var/lib/edgewright")), "bookworm", "amd64")
    site = tmp_path / "inventory"
    assert "edgewright_twin" not in "".join(path.read_text() for path in site.rglob("*.yml"))
    controller = yaml.safe_load((site / "group_vars/controller/depot.yml").read_text())
    assert controller["depot_from_bundle"] is True
    assert controller["depot_supervisor"] == "systemd"
