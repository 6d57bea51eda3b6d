# SPDX-License-Identifier: Apache-2.0
"""The journey on a snapd twin: a bare device becomes an accepted one, the way of Ubuntu Core.

The twin has Debian's real snapd, and stand-ins for Canonical's base and snapd snaps. The tests of this file
are one story on one machine, in the order in which they stand.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.site import BIN, ROOT, Site

pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.machines]

SLICE = "/sys/fs/cgroup/snap.edgert.slice"
# What a Debian way would touch: packages, users, images, and paths that are read-only on core24. Left out are
# those that it keeps writable, and what the twin's Debian writes by timers of its own (apt, logrotate, dbus).
NOT_OURS = (
    "dpkg-query -W | sha256sum; sha256sum < /etc/passwd; ls /var/lib/containers 2>/dev/null;"
    " find /usr /boot /opt /etc /var/lib -xdev -newer /tmp/begun -type f"
    " -not -path '/etc/systemd/*' -not -path '/etc/sysctl.d/*' -not -path '/var/lib/snapd/*'"
    " -not -path '/var/lib/systemd/*' -not -path '/etc/environment' -not -path '/var/lib/private/*'"
    " -not -path '/etc/apparmor.d/*' -not -path '/etc/udev/rules.d/*' -not -path '/var/lib/apt/daily_lock'"
    " -not -path '/var/lib/dbus/*' -not -path '/var/lib/logrotate/*'"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    own = {
        "edgewright_os": "ubuntu_core",
        "edgewright_profile": "x86_vm_snapd",
        "edgewright_snap_grade": "dangerous",
        # What is judged here is that it is measured; half a minute says no more under emulation.
        "acceptance_duration_s": 10.0,
    }
    directory = tmp_path_factory.mktemp("core")
    with Site(directory, "core-journey", ssh_port=2261, depot_port=9461, twin="snapd", own=own) as made:
        yield made


def test_a_bare_device_becomes_an_accepted_one(site: Site) -> None:
    site.up()
    site.ssh("touch /tmp/begun; sleep 1")
    before = site.ssh(NOT_OURS).splitlines()
    run = site.play()
    assert run.returncode == 0, run.text[-6000:]
    assert "core-journey is as wanted, and accepted" in run.text
    assert site.boots() == 1, "nothing on this way takes a reboot"
    assert site.ssh(NOT_OURS).splitlines() == before


def test_the_system_says_so_itself(site: Site) -> None:
    assert site.ssh(f"cat {SLICE}/cpuset.cpus.partition") == "isolated"
    assert "2-3" not in site.ssh("cat /sys/fs/cgroup/system.slice/cpuset.cpus.effective")
    pid = site.ssh("systemctl show -P MainPID snap.edgewright-runtime.server.service")
    assert "/snap.edgert.slice/" in site.ssh(f"cat /proc/{pid}/cgroup")
    assert site.ssh(f"grep -c snap.edgewright-runtime.server /proc/{pid}/attr/current") == "1", (
        "it is confined"
    )
    assert "- edgewright-runtime" in site.ssh("snap quota edgert")
    assert site.ssh("snap get system proxy.https") == "http://127.0.0.1:9"


def test_the_record_names_the_snaps_and_what_stands_in(site: Site) -> None:
    (record,) = site.records()
    assert record["release"]["snaps"]["grade"] == "dangerous"
    snaps = record["device"]["snaps"]
    assert {name for name, snap in snaps.items() if snap["stand_in"]} == {"core24", "snapd"}
    assert len(snaps["edgewright-runtime"]["sha3_384"]) == 64
    assert record["judged"]["function"]["verdict"] == "pass"
    assert record["wakeup"]["error"] is None
    path = next((site.state / "records" / site.device).glob("*.json"))
    shown = site.edgewright("record", "show", str(path)).stdout
    assert "STAND-INS    core24, snapd" in shown
    assert "GRADE        DANGEROUS" in shown


def test_the_second_run_is_one_probe_and_changes_nothing(site: Site) -> None:
    run = site.play()
    assert run.returncode == 0, run.text[-4000:]
    assert run.recap(site.device)["changed"] == 0
    assert len(site.records()) == 1


def test_a_snap_of_one_changed_bit_is_found(site: Site) -> None:
    """The byte is in the padding after the file system, so what is mounted stays whole."""
    file = site.ssh("readlink -f /var/lib/snapd/snaps/edgewright-model-label-reader_x*.snap")
    flip = f"printf '\\{{}}' | dd of={file} bs=1 seek=$(($(stat -c %s {file}) - 1)) conv=notrunc status=none"
    site.ssh(flip.format("001"))
    run = site.play("--check", playbook="playbooks/converge_devices.yml")
    assert "runtime.snaps.edgewright-model-label-reader" in run.text, run.text[-3000:]
    site.ssh(flip.format("000"))


def test_a_quota_group_removed_behind_our_back_is_found_and_mended(site: Site) -> None:
    site.ssh("snap remove-quota edgert")
    run = site.play(playbook="playbooks/converge_devices.yml")
    assert "isolation.quota" in run.text
    assert run.returncode == 0, run.text[-6000:]
    assert site.ssh(f"cat {SLICE}/cpuset.cpus.partition") == "isolated"
    pid = site.ssh("systemctl show -P MainPID snap.edgewright-runtime.server.service")
    assert "/snap.edgert.slice/" in site.ssh(f"cat /proc/{pid}/cgroup")
    assert len(site.records()) == 1, "what is accepted is the same, so nothing is measured anew"


def test_the_roles_scenario_on_a_device_with_snapd(site: Site) -> None:
    """The molecule scenario of the roles' Ubuntu Core way: a fault for each area, told twice, and mended."""
    records = len(site.records())
    log = site.directory / "molecule-ubuntu_core.log"
    with log.open("wb") as stream:
        done = subprocess.run(
            [str(BIN / "molecule"), "test", "-s", "ubuntu_core"],
            cwd=ROOT,
            env=site.environment() | {"EDGEWRIGHT_MOLECULE_INVENTORY": str(site.inventory)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert done.returncode == 0, log.read_text(errors="replace")[-6000:]
    assert len(site.records()) == records, "what is accepted is the same, so nothing is measured anew"
