# SPDX-License-Identifier: Apache-2.0
"""What the device itself says, after the roles' Ubuntu Core way."""

from __future__ import annotations

from testinfra.host import Host

COMMON = "/var/snap/edgewright-runtime/common"


def test_the_key_is_roots_alone(host: Host) -> None:
    key = host.file(f"{COMMON}/identity/device.key")
    assert (key.user, key.mode) == ("root", 0o400)


def test_snapd_holds_its_refreshes_and_reaches_nothing(host: Host) -> None:
    assert host.check_output("snap get system refresh.hold")
    assert host.check_output("snap get system proxy.https") == "http://127.0.0.1:9"


def test_the_server_runs_in_the_groups_slice(host: Host) -> None:
    pid = host.check_output("systemctl show -P MainPID snap.edgewright-runtime.server.service")
    assert "/snap.edgert.slice/" in host.file(f"/proc/{pid}/cgroup").content_string
    assert (
        host.file("/sys/fs/cgroup/snap.edgert.slice/cpuset.cpus.partition").content_string.strip()
        == "isolated"
    )


def test_nothing_came_by_another_way(host: Host) -> None:
    assert not host.file("/etc/edgewright").exists
    assert not host.file("/etc/apt/sources.list.d/edgewright-depot.sources").exists
    assert not host.exists("podman")
