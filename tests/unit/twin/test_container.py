# SPDX-License-Identifier: Apache-2.0
"""The command that creates a container twin, and its limits."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from edgewright.twin import ContainerTwin, SnapdTwin, VmTwin, make_twin
from edgewright.twin.container import create_command, image_tag, limits
from edgewright.twin.spec import TwinSpec

SPEC = TwinSpec(
    name="box-01",
    kind="container",
    state_dir=Path("/srv/site"),
    port=22,
    address="10.213.0.11",
    memory_mib=700,
)


@pytest.mark.parametrize(
    ("nofile", "nproc", "expected"),
    [
        pytest.param(20000, 5000, ["nofile=20000:20000", "nproc=5000:5000"], id="the host's where lower"),
        pytest.param(10**6, 10**6, ["nofile=65536:65536", "nproc=32768:32768"], id="ours where lower"),
        pytest.param(
            resource.RLIM_INFINITY,
            resource.RLIM_INFINITY,
            ["nofile=65536:65536", "nproc=32768:32768"],
            id="no limit on the host",
        ),
    ],
)
def test_limits_never_pass_the_hosts(nofile: int, nproc: int, expected: list[str]) -> None:
    assert limits(nofile, nproc)[1::2] == expected


def test_create_command() -> None:
    argv = create_command(SPEC, "edgewright-box-01-00000000", ["--ulimit", "nofile=1:1"])
    assert argv[0] == "create"
    assert argv[-2:] == [image_tag(), "/sbin/init"]
    for option, value in (
        ("--network", "edgewright"),
        ("--ip", "10.213.0.11"),
        ("--memory", "700m"),
        ("--hostname", "box-01"),
        ("--ulimit", "nofile=1:1"),
    ):
        assert argv[argv.index(option) + 1] == value
    assert "--systemd=always" in argv
    assert "--privileged" not in argv


def test_the_kind_decides_the_class() -> None:
    assert isinstance(make_twin(SPEC), ContainerTwin)
    assert type(make_twin(TwinSpec("edge-01", "vm", Path("/srv/site"), 2201))) is VmTwin
    assert type(make_twin(TwinSpec("core-01", "snapd", Path("/srv/site"), 2201))) is SnapdTwin
