# SPDX-License-Identifier: Apache-2.0
"""Debian's real snapd, alone in namespaces of its own on this host: its socket's answers, and the store.

No twin is needed for what neither installs nor mounts anything: seconds, not minutes. The network is the
rehearsal's: whatever snapd tries to reach is refused and remembered.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import snap_digest, snap_sets
from ansible_collections.edgewright.factory.plugins.module_utils.snapd import (
    Snapd,
    SnapdError,
)
from ansible_collections.edgewright.factory.plugins.modules import snaps

from edgewright.bundle.rehearsal.egress import Namespace
from tests.unit.plugins.modules.snapd_simulator import TlsDepot
from tests.unit.snaps.asserting import PUBLISHER, chain, set_chain

SNAPD = Path("/usr/lib/snapd/snapd")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces take root"),
    pytest.mark.skipif(not SNAPD.exists(), reason="snapd is not installed: apt install snapd"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("nft", "dnsmasq", "nsenter"))), reason="no nftables, dnsmasq or nsenter"
    ),
]

OWN_WISHES_S = 8
"""snapd asks the store for its catalogue at once after its start."""

ROOM = """set -eu
for place in /var/lib/snapd /var/cache/snapd /run; do [ ! -d $place ] || mount -t tmpfs none $place; done
mkdir -p /var/lib/snapd/snaps /run/snapd
echo nameserver 127.0.0.1 > /run/resolv.conf
mount --bind /run/resolv.conf /etc/resolv.conf
echo ready
exec sleep 600
"""


@dataclass
class Room:
    """Mounts and a network for one snapd.

    Attributes:
        pid: a process in them.
    """

    pid: int

    @contextmanager
    def snapd(self) -> Iterator[Snapd]:
        """A snapd that runs in the room; its state stays there."""
        path = Path(f"/proc/{self.pid}/root/run/snapd.socket")
        path.unlink(missing_ok=True)
        argv = ["nsenter", "-t", str(self.pid), "-m", "-n", "--", str(SNAPD)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 120
            while True:
                link = Snapd(str(path), change_s=60)
                try:
                    link.snaps()
                    break
                except SnapdError:
                    assert time.monotonic() < end, "snapd does not answer"
                    time.sleep(0.2)
            # A snapd without snaps ends after five seconds, to be started by its socket, unless somebody is
            # connected.
            with socket.socket(socket.AF_UNIX) as guest:
                guest.connect(str(path))
                yield link
        finally:
            process.kill()
            process.wait(timeout=60)


@pytest.fixture
def room() -> Iterator[Room]:
    argv = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", ROOM]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Room(process.pid)
    finally:
        process.kill()
        process.wait()


class Module:
    """What a run of the module uses of Ansible's."""

    check_mode = False

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        raise AssertionError(argv)


def wish(**more: Any) -> dict[str, Any]:
    params: dict[str, Any] = {
        "snaps": [],
        "connect": [],
        "validation_sets": [],
        "hold_health": True,
        "health_timeout_s": 1,
    }
    return params | {"offline": True, "staging": "/nonexistent", **more}


def _asked(net: Namespace) -> bool:
    """Whether somebody in there wanted to know where the store is."""
    return any("snapcraft.io" in one.name for one in net.refused())


@pytest.mark.slow
def test_the_store_is_never_asked(room: Room, tmp_path: Path) -> None:
    with room.snapd() as link:
        done = snaps.Run(Module(wish()), link).go()
        assert (done["changed"], done["settings"]) == (True, ["proxy.http", "proxy.https", "refresh.hold"])
        assert snaps.Run(Module(wish()), link).go()["changed"] is False
    with Namespace(room.pid, tmp_path / "dns.log") as net:
        with room.snapd() as link:  # as after a reboot: within seconds it wants the store's catalogue
            time.sleep(OWN_WISHES_S)
            assert net.refused() == []
            # The watch sees: without these settings the same snapd asks for the store's name.
            link.set_conf({"proxy.http": None, "proxy.https": None})
        with room.snapd():
            end = time.monotonic() + 4 * OWN_WISHES_S
            while not _asked(net) and time.monotonic() < end:
                time.sleep(0.2)
        assert _asked(net)


@pytest.mark.slow
def test_assertions_of_a_stranger_are_refused(room: Room, tmp_path: Path) -> None:
    depot = TlsDepot(tmp_path)
    name, data = "edgewright-runtime", b"hsqs"
    depot.files |= {f"{name}_7.snap": data, f"{name}_7.assert": chain()}
    wanted = {
        "name": name,
        "filename": f"{name}_7.snap",
        "size": len(data),
        "sha3_384": snap_digest.of_chunks([data]),
        "revision": 7,
        "assertions": f"{name}_7.assert",
        "grade": "signed",
    }
    place = {"host": "127.0.0.1", "port": depot.server.server_port}
    params = wish(
        snaps=[wanted], depot=place, identity=str(depot.identity), staging=str(tmp_path / "staging")
    )
    data = set_chain()
    depot.files["validation-set-edge-set_3.assert"] = data
    named = {"account": PUBLISHER, "name": "edge-set", "sequence": 3, "revision": 0}
    named |= {
        "filename": "validation-set-edge-set_3.assert",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    try:
        with room.snapd() as link:
            with pytest.raises(snaps.RefusedError) as caught:
                snaps.Run(Module(params), link).go()
            # A set as well; snapd is asked for what it knows, and knows none.
            assert link.call("GET", "/v2/validation-sets")["result"] == []
            with pytest.raises(
                SnapdError, match=r"acknowledging validation set .*cannot resolve prerequisite"
            ):
                snaps.Run(Module({**params, "snaps": [], "validation_sets": [named]}), link).go()
            assert snap_sets.unknown(link, [named]) == [named]
    finally:
        depot.server.shutdown()
    said = str(caught.value)
    assert said.startswith(f"acknowledging {name}_7.assert of snap {name}: expected assertions whose keys")
    assert "cannot resolve prerequisite assertion: account (testroot)" in said
    assert "nothing was installed" in said


def test_the_socket_answers_as_the_module_expects(room: Room) -> None:
    with room.snapd() as link:
        assert (link.snaps(), link.connected(), link.conf("proxy.http")) == ({}, [], None)
        link.wait_for_others(["edgewright-runtime"])
        for refused in (
            lambda: link.revert("edgewright-runtime"),
            lambda: link.restart(["edgewright-runtime.server"]),
            lambda: link.connect("a:b", "c:d"),
        ):
            with pytest.raises(SnapdError):
                refused()
