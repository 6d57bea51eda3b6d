# SPDX-License-Identifier: Apache-2.0
"""Kernels other than Debian 12's own: Debian 13's real-time 6.12, and the 6.12 that Debian 12's updates have.

Each is one story on one machine, from bare to accepted and once more without a change, in the order in which
the tests stand. Not part of `make test`: the machines are emulated, and each story takes many minutes;
`make test-kernels` runs them. What passed, and when, docs/reference/kernel.md says.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.site import ROOT, Site

pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.other_kernels]


@dataclass(frozen=True)
class Story:
    """What is put on which system.

    Attributes:
        suite: Debian's release, of device and lock.
        kernel: the meta package, where it is another than the release's own.
        release: the directory that it is taken from.
        running: what the kernel's release must look like.
        ssh_port: of the twin.
        depot_port: of its site.
    """

    suite: str
    kernel: str | None
    release: str
    running: str
    ssh_port: int
    depot_port: int


STORIES = {
    "trixie-6.12": Story("trixie", None, "label-reader-trixie", r"6\.12\.\d+\+deb13-rt-amd64", 2251, 9481),
    "bookworm-6.12": Story(
        "bookworm", "linux-image-6.12-rt-amd64", "label-reader", r"6\.12\.\d+\+deb12-rt-amd64", 2252, 9482
    ),
}
PARTITION = "/sys/fs/cgroup/edgert.slice/cpuset.cpus.partition"


def with_kernel(story: Story, folder: Path) -> Path:
    """The release with another kernel, locked anew against the archives of today; nothing else is another."""
    release: dict[str, Any] = yaml.safe_load((ROOT / "releases" / story.release / "release.yml").read_text())
    release["os"]["kernel"] = story.kernel
    release.pop("snaps", None)
    release["images"]["runtime"].pop("snap_debs", None)
    folder.mkdir()
    (folder / "release.yml").write_text(yaml.safe_dump(release))
    locked = subprocess.run(
        [sys.executable, "-m", "edgewright.cli.main", "release", "lock", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert locked.returncode == 0, locked.stderr
    return folder


@pytest.fixture(scope="module", params=list(STORIES))
def story(request: pytest.FixtureRequest) -> Story:
    return STORIES[request.param]


@pytest.fixture(scope="module")
def site(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("kernels")
    release = ROOT / "releases" / story.release
    twin = {"kind": "vm", "cpus": 4, "memory_mib": 2048, "depot_port": story.depot_port, "suite": story.suite}
    with Site(
        folder,
        f"{story.suite}-01",
        ssh_port=story.ssh_port,
        depot_port=story.depot_port,
        release=with_kernel(story, folder / "release") if story.kernel else release,
        own={
            "depot_client_suite": story.suite,
            "edgewright_twin": twin,
            # What is judged here is that it is measured; half a minute says no more under emulation.
            "acceptance_duration_s": 10.0,
        },
    ) as made:
        yield made


def test_a_bare_device_becomes_an_accepted_one_with_one_reboot(site: Site) -> None:
    site.up()
    run = site.play()
    assert run.returncode == 0, run.text[-6000:]
    assert f"{site.device} is as wanted, and accepted" in run.text
    assert site.boots() == 2, "first boot, and one reboot"
    assert site.ssh("dpkg --audit") == ""


def test_the_system_says_so_itself(site: Site, story: Story) -> None:
    assert re.fullmatch(story.running, site.ssh("uname -r"))
    assert "PREEMPT_RT" in site.ssh("uname -v")
    assert story.suite in site.ssh("cat /etc/os-release")
    assert site.ssh(f"cat {PARTITION}") == "isolated"
    assert "2-3" not in site.ssh("cat /sys/fs/cgroup/system.slice/cpuset.cpus.effective")
    assert site.ssh("cat /sys/devices/system/cpu/nohz_full") == "2-3"
    assert {"nohz_full=2-3", "rcu_nocbs=2-3", "irqaffinity=0-1", "panic=10"} <= set(
        site.ssh("cat /proc/cmdline").split()
    )
    container = site.ssh("podman inspect -f '{{.State.Pid}}' edgewright-runtime-a")
    assert "/edgert.slice/" in site.ssh(f"cat /proc/{container}/cgroup")


def test_the_boot_was_counted_and_confirmed(site: Site) -> None:
    """The environment block says so, and the menu has the kernel of before to fall back to."""
    assert site.ssh("systemctl is-active edgewright-boot-good.service") == "active"
    failures = re.findall(r"^edgewright_failures=(.*)$", site.ssh("cat /boot/grub/grubenv"), re.MULTILINE)
    assert failures in ([], ["0"], [""])
    fallback = re.search(r'set edgewright_fallback="([^"]+)"', site.ssh("cat /boot/grub/grub.cfg"))
    assert fallback is not None
    assert "-cloud-amd64" in fallback[1]


def test_the_record_names_kernel_and_partition(site: Site, story: Story) -> None:
    (record,) = site.records()
    text = str(record)
    assert re.search(story.running, text)
    assert "PREEMPT_RT" in text
    assert "isolated" in text
    assert record["judged"]["function"]["verdict"] == "pass"


def test_the_partition_is_mended_when_somebody_claims_its_cpus(site: Site) -> None:
    """Whether 6.12 calls it invalid as 6.1 does or not: drift names the claim, the run mends it."""
    site.ssh("systemctl set-property --runtime system.slice AllowedCPUs=0-3")
    told = site.edgewright("drift", "--json", "-i", str(site.inventory), check=False)
    assert told.returncode != 0
    assert "system.slice claims CPU 2-3" in told.stdout, (site.ssh(f"cat {PARTITION}"), told.stdout)
    site.ssh("systemctl set-property --runtime system.slice AllowedCPUs=0-1")
    run = site.play(playbook="playbooks/converge_devices.yml")
    assert run.returncode == 0, run.text[-4000:]
    assert site.ssh(f"cat {PARTITION}") == "isolated"


def test_second_run_is_one_probe_and_changes_nothing(site: Site) -> None:
    boot = site.boot_id()
    run = site.play()
    assert run.returncode == 0, run.text[-4000:]
    assert run.recap(site.device)["changed"] == 0
    assert site.boot_id() == boot
    assert len(site.records()) == 1
