# SPDX-License-Identifier: Apache-2.0
"""roles/nvidia/tasks/dkms.yml on this host, in a mount name space with a dkms of the test's own.

What dkms says is acted out, so that each of its ways to end can be tried; a real one builds in
tests/integration/test_modules_dkms.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
KERNEL = "9.9.9-rt-amd64"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a mount name space takes root")

# As dkms 3.0.10 ends: it installs, it skips (status 77, no module), it ends with 0 and did nothing.
_DKMS = """#!/bin/sh
echo "dkms $*" >> {log}
case "$1" in
status)
    echo '{status}'
    if [ -e /lib/modules/{kernel}/updates/dkms/nvidia-current.ko ]; then
        echo 'nvidia-current/535.309.01, {kernel}, x86_64: installed'
    fi ;;
install)
    if [ {ends} = works ]; then
        mkdir -p /lib/modules/{kernel}/updates/dkms
        echo '{vermagic}' > /lib/modules/{kernel}/updates/dkms/nvidia-current.ko
    elif [ {ends} = skips ]; then
        echo 'The dkms.conf for this module includes a BUILD_EXCLUSIVE directive' >&2
        exit 77
    fi ;;
esac
"""
_MODINFO = """#!/bin/sh
cat /lib/modules/$2/updates/dkms/$5.ko
"""


class Place:
    """A playbook of these tasks, and what it leaves below `left`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "dkms.log"

    def play(
        self,
        ends: str,
        *arguments: str,
        kernel: str = KERNEL,
        vermagic: str = f"{KERNEL} SMP preempt_rt",
        status: str = "nvidia-current/535.309.01: added",
        times: int = 1,
        before: str = "",
    ) -> subprocess.CompletedProcess[str]:
        tools = self.folder / "bin"
        tools.mkdir(exist_ok=True)
        text = _DKMS.format(log=self.log, status=status, ends=ends, kernel=kernel, vermagic=vermagic)
        for name, script in (("dkms", text), ("modinfo", _MODINFO)):
            (tools / name).write_text(script)
            (tools / name).chmod(0o755)
        book = self.folder / "play.yml"
        book.write_text(
            "- hosts: localhost\n  connection: local\n  gather_facts: false\n"
            f"  environment: {{PATH: '{tools}:/usr/sbin:/usr/bin:/sbin:/bin'}}\n"
            f"  vars: {{nvidia_dkms_kernel: {kernel}, nvidia_dkms_packages: []}}\n"
            "  tasks:\n"
            "    - ansible.builtin.include_role: {name: edgewright.factory.nvidia, tasks_from: dkms}\n"
        )
        run = f"{Path(sys.executable).parent / 'ansible-playbook'} {book} {' '.join(arguments)}"
        keep = f"mkdir -p {self.folder}/left; cp -a /etc/dkms/. {self.folder}/left/"
        inner = "mkdir -p /etc/dkms /lib/modules\n"
        inner += "mount -t tmpfs none /etc/dkms; mount -t tmpfs none /lib/modules\n"
        inner += f"{before}\ncode=0\n" + f"{run} || code=$?\n" * times + f"{keep}; exit $code"
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", inner],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"},
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_modules_are_built_once_with_both_gates_open(place: Place) -> None:
    done = place.play("works", times=2)
    assert done.returncode == 0, done.stdout
    installs = [line for line in place.log.read_text().splitlines() if line.startswith("dkms install")]
    assert installs == [f"dkms install --force -m nvidia-current -v 535.309.01 -k {KERNEL}"]
    told = (place.folder / "left/nvidia-current.conf").read_text()
    assert 'BUILD_EXCLUSIVE_CONFIG=""' in told
    assert "IGNORE_PREEMPT_RT_PRESENCE=1 make" in told
    assert done.stdout.count("changed=0") == 1, "the second run changes nothing"


def test_a_kernel_that_dkms_skips_is_not_reported_as_built(place: Place) -> None:
    done = place.play("skips")
    assert done.returncode != 0
    for words in (f"building nvidia-current for {KERNEL}", "found no file", "BUILD_EXCLUSIVE", "make.log"):
        assert words in done.stdout


def test_a_build_that_ends_with_0_and_no_module_is_not_reported_as_built(place: Place) -> None:
    done = place.play("lies")
    assert done.returncode != 0
    assert "with vermagic none" in done.stdout.replace("\n", " ")


def test_a_module_of_another_kernel_is_not_reported_as_built(place: Place) -> None:
    done = place.play("works", vermagic="6.1.0-50-rt-amd64 SMP preempt_rt")
    assert done.returncode != 0
    assert "6.1.0-50-rt-amd64 SMP preempt_rt" in done.stdout


def test_a_source_that_dkms_does_not_know_is_named(place: Place) -> None:
    done = place.play("works", status="")
    assert done.returncode != 0
    assert "dkms knows no source of that name" in done.stdout
    assert "dkms install" not in place.log.read_text()


def test_two_sources_are_named_and_none_is_guessed(place: Place) -> None:
    done = place.play("works", status="nvidia-current/535.261.03: added\nnvidia-current/535.309.01: added")
    assert done.returncode != 0
    assert "dkms knows the versions 535.261.03, 535.309.01" in " ".join(done.stdout.split())
    assert "dkms install" not in place.log.read_text()


def test_a_module_that_dkms_does_not_count_as_installed_is_built_again(place: Place) -> None:
    """As after an upgrade of the driver: the older module is there, of the right kernel."""
    kept = "mkdir -p /lib/modules/{0}/updates/dkms; echo '{0} SMP' > /lib/modules/{0}/updates/dkms/other.ko"
    done = place.play(
        "works", "-e nvidia_dkms_name=other", status="other/2.0: added", before=kept.format(KERNEL)
    )
    assert "dkms install --force -m other -v 2.0" in place.log.read_text()
    assert done.returncode == 0, done.stdout


def test_another_kernels_gates_stay_closed(place: Place) -> None:
    done = place.play("works", kernel="9.9.9-amd64", vermagic="9.9.9-amd64 SMP")
    assert done.returncode == 0, done.stdout
    assert not (place.folder / "left/nvidia-current.conf").exists()


def test_check_mode_builds_nothing(place: Place) -> None:
    done = place.play("works", "--check")
    assert "dkms install" not in (place.log.read_text() if place.log.exists() else "")
    assert done.returncode == 0, done.stdout
