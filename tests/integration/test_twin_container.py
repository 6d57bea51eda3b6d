# SPDX-License-Identifier: Apache-2.0
"""A container twin for real: systemd runs, ssh checks its host key, only the host's bridge answers."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.twin import ContainerTwin, TwinSpec
from edgewright.twin.spec import CONTAINER_GATEWAY, CONTAINER_SUBNET
from tests.integration.host_keys import assert_another_host_key_is_refused

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers with systemd take root here"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="no podman"),
]


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerTwin]:
    spec = TwinSpec(
        name="box-under-test",
        kind="container",
        state_dir=tmp_path_factory.mktemp("state"),
        port=22,
        address=str(CONTAINER_SUBNET[250]),
        memory_mib=512,
    )
    machine = ContainerTwin(spec)
    try:
        assert machine.up() is True
        yield machine
    finally:
        machine.purge()


def test_systemd_runs_and_nothing_failed(twin: ContainerTwin) -> None:
    done = twin.run("cat /proc/1/comm; hostname; systemctl is-system-running --wait; systemctl is-active ssh")
    assert done.stdout.split() == ["systemd", "box-under-test", "running", "active"]


def test_it_is_up_and_says_so_the_second_time(twin: ContainerTwin) -> None:
    assert twin.up() is False


def test_another_host_key_is_refused(twin: ContainerTwin, tmp_path: Path) -> None:
    assert_another_host_key_is_refused(twin, twin.spec.address, tmp_path)


def test_it_reaches_the_hosts_bridge_and_has_no_other_route(twin: ContainerTwin) -> None:
    with socket.create_server((str(CONTAINER_GATEWAY), 0)) as server:

        def greet() -> None:
            link, _ = server.accept()
            with link:
                link.sendall(b"depot")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        script = "import socket; print(socket.create_connection(({!r}, {}), 5).recv(9))"
        near = twin.run(f'python3 -c "{script.format(str(CONTAINER_GATEWAY), port)}"')
        far = twin.run(f'python3 -c "{script.format("1.1.1.1", 443)}"')
        thread.join(5)
    assert near.stdout.strip() == "b'depot'"
    assert far.returncode != 0
    assert "Network is unreachable" in far.stderr


def test_its_files_survive_a_kill_and_an_orderly_stop(twin: ContainerTwin) -> None:
    assert twin.run("echo kept > /root/kept").returncode == 0
    assert twin.kill() is True
    assert twin.is_up() is False
    assert twin.up() is True
    assert twin.down() is True
    assert twin.down() is False
    assert twin.up() is True
    assert twin.run("cat /root/kept").stdout == "kept\n"
