# SPDX-License-Identifier: Apache-2.0
"""A lone device: the stick provisions the bare machine that it is plugged into, with no network at all.

The machine is a container, so what takes a kernel of its own is skipped, by name; the rest is real.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.bundle.build import build_bundle
from edgewright.bundle.installer import installer_files
from edgewright.bundle.keys import KeySet
from edgewright.bundle.rehearsal.controller import Controller, last_task
from edgewright.bundle.rehearsal.egress import Namespace
from edgewright.twin.tools import say_print

ROOT = Path(__file__).resolve().parents[2]
SELF = "/opt/edgewright/current/bin/edgewright controller provision-self"

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers of root's podman"),
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeySet:
    return KeySet.develop(tmp_path_factory.mktemp("office") / "keys")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, keys: KeySet) -> Iterator[Controller]:
    place = tmp_path_factory.mktemp("lone")
    build_bundle(ROOT / "releases" / "label-reader", place / "stick", keys, installer=installer_files)
    made = Controller(place / "work", place / "stick", say_print, hostname="lone-01")
    made.work.mkdir()
    try:
        yield made
    finally:
        made.remove()


def _run(machine: Controller, command: str) -> tuple[int, str]:
    log = machine.work / "run.log"
    code = machine.run_told(["sh", "-c", command], log, last_task)
    return code, log.read_text("utf-8", "replace")


def test_it_provisions_itself_and_asks_nobody(machine: Controller, keys: KeySet) -> None:
    with Namespace(machine.start(machine.work), machine.work / "dns.log") as net:
        code, told = _run(machine, f"sh /media/stick/install --fingerprint {keys.fingerprint} --self")
        assert code == 0, told[-4000:]
        assert "provisioning this machine, lone-01, as its own controller and device" in told
        skipped = "kernel, isolation, runtime, acceptance"
        assert (
            f"lone-01 is as wanted; skipped, because its profile boots no kernel of its own: {skipped}"
            in told
        )
        assert net.refused() == [], "nothing was wanted from elsewhere"
        again, told = _run(machine, SELF)
        assert again == 0, told[-4000:]
        recaps = [line for line in told.splitlines() if line.startswith(("lone-01 ", "localhost "))]
        assert len(recaps) == 2
        assert all(" changed=0 " in line for line in recaps), recaps
        assert net.refused() == []


def test_its_packages_come_from_its_own_depot_alone(machine: Controller) -> None:
    listed = machine.run("apt-get indextargets --format '$(SITE)' | sort -u", "listing sources")
    assert listed.split() == ["https://127.0.0.1:9443/apt"]
    assert "9443" in machine.run("systemctl is-active edgewright-depot && ss -ltn", "looking at the depot")
