# SPDX-License-Identifier: Apache-2.0
"""Faults for a provisioned VM twin, and what its own watch shall say of each: used by the journey.

The twin has no GPU. So that faults of one can be put to it, it is declared to have a T4, and its module comes
in a stand-in of the package of that name: an ELF file with the real one's description and no code. What the
kernel loads as nouveau is the real one of Debian's kernel package. What only a GPU shows is skipped by the
area, by name.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgewright.modules.build import control_fields, module_directory, scripts
from edgewright.modules.debpack import Member, write_deb
from tests.integration.site import ROOT, Site
from tests.unit.modules.tiny import tiny_module

__all__ = [
    "DROP_IN",
    "PERIOD_S",
    "UPGRADED",
    "Fault",
    "Look",
    "at_once",
    "declare_a_gpu",
    "faults",
    "next_look",
    "start_without_parameters",
    "take_back",
]

PERIOD_S = 60
"""Of the watch while it is tried: its timer finds the faults, and nobody has to wait for ten minutes."""

PROFILE = "x86_vm_t4"
RELEASES = ROOT / "releases"
REPORT = "/run/edgewright/drift_watch/report.json"
METRICS = "/var/lib/prometheus/node-exporter/edgewright_drift_watch.prom"
UPGRADED = "crun"
TIMER = "edgewright-drift-watch.timer"
SERVICE = "edgewright-drift-watch.service"
DROP_IN = "/etc/systemd/system.control/system.slice.d/50-AllowedCPUs.conf"


def _lock(name: str) -> dict[str, Any]:
    text = (RELEASES / name / "release.lock.yml").read_text(encoding="utf-8")
    lock: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    return lock


def _send(site: Site, path: Path) -> None:
    command = ["scp", "-q", "-P", str(site.ssh_port), "-i", str(site.state / "ssh" / "id_ed25519")]
    command += ["-o", f"UserKnownHostsFile={site.state}/known_hosts", "-o", "BatchMode=yes"]
    subprocess.run([*command, str(path), f"root@127.0.0.1:/root/{path.name}"], check=True, timeout=300)


def declare_a_gpu(site: Site) -> None:
    """Declare a T4 on the device, bring a stand-in of the modules' package, and shorten the period.

    The next run of site.yml converges it.
    """
    lock, gpu = _lock("label-reader"), _lock("label-reader-t4")
    (entry,), (answer,) = gpu["modules"], gpu["nvidia"]
    assert entry["kernel"] == lock["kernel"], "both example releases have one kernel"
    release = site.directory / "release-with-gpu"
    release.mkdir()
    waiver = {**answer["waiver"], "until": "2099-01-01"}
    more = {"modules": [entry], "nvidia": [{**answer, "profile": PROFILE, "waiver": waiver}]}
    (release / "release.lock.yml").write_text(yaml.safe_dump({**lock, **more}), encoding="utf-8")
    plain = yaml.safe_load((ROOT / "edgewright/data/profiles/x86_vm.yml").read_text(encoding="utf-8"))
    site.write(f"profiles/{PROFILE}.yml", {**plain, "gpu": "nvidia", "gpu_model": "t4"})
    host = site.inventory / "host_vars" / site.device / "edgewright.yml"
    declared = yaml.safe_load(host.read_text(encoding="utf-8"))
    declared |= {
        "edgewright_profile": PROFILE,
        "edgewright_release_dir": str(release),
        "nvidia_persistence": False,
        "acceptance_duration_s": 5,
        "acceptance_labels": 2,
        "drift_watch_period_s": PERIOD_S,
    }
    site.write(f"host_vars/{site.device}/edgewright.yml", declared)

    kernel = lock["kernel"]["release"]
    told = (
        *("version=" + entry["driver"], "license=NVIDIA", "name=nvidia_current", "depends="),
        f"vermagic={kernel} SMP preempt_rt mod_unload modversions",
    )
    deb = site.directory / "stand-in.deb"
    fields = control_fields({**entry, "needs": []}, "") | {"Description": "stand-in without code, for tests"}
    name = f"{module_directory(kernel)}/nvidia-current.ko"
    write_deb(deb, fields, {name: Member(tiny_module(*told))}, scripts(kernel), 1)
    _send(site, deb)
    site.ssh("dpkg -i /root/stand-in.deb && rm /root/stand-in.deb")


def upgrade_of(site: Site, name: str) -> Path:
    """A later version of a package: the same files as the depot's, another number."""
    (entry,) = (each for each in _lock("label-reader")["apt"]["packages"] if each["name"] == name)
    (packed,) = site.depot.glob(f"apt/pool/**/{entry['filename']}")
    tree, target = site.directory / "later", site.directory / "later.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", packed, tree], check=True)
    control = tree / "DEBIAN" / "control"
    text = control.read_text(encoding="utf-8")
    control.write_text(re.sub(r"(?m)^Version: (.*)$", r"Version: \1+later", text), encoding="utf-8")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, target], check=True, capture_output=True
    )
    return target


@dataclass(frozen=True)
class Fault:
    """A fault: the shell command that makes it, and what the watch shall say.

    Attributes:
        name: in the words of the issue.
        command: run as root on the device.
        item: `area.item`.
        cause: pattern that the cause must match.
    """

    name: str
    command: str
    item: str
    cause: str


def faults(site: Site) -> list[Fault]:
    """Those that need no boot; the package for one of them is put on the device."""
    _send(site, upgrade_of(site, UPGRADED))
    kernel = _lock("label-reader")["kernel"]["release"]
    return [
        Fault(
            "partition made invalid by set-property",
            "systemctl set-property system.slice AllowedCPUs=0-3",
            "isolation.claims",
            re.escape(f"system.slice claims CPU 2-3 (set by {DROP_IN})"),
        ),
        Fault("and its partition", "true", "isolation.partition", r"^isolated invalid \(.+\), accepted was"),
        Fault(
            "a stray process in the slice",
            "setsid sleep 7777 < /dev/null > /dev/null 2>&1 & echo $! > /run/stray.pid;"
            " cat /run/stray.pid > /sys/fs/cgroup/edgert.slice/edgewright-partition.service/cgroup.procs",
            "isolation.strays",
            r"^sleep \(pid \d+\)",
        ),
        Fault(
            "an interrupt moved back",
            "for each in /proc/irq/*/virtio*; do"
            ' echo 2 2> /dev/null > "${each%/*}/smp_affinity_list" && break; done',
            "isolation.irqs",
            r"^\d+ virtio\S+ on CPU 2: interrupts may fire",
        ),
        Fault(
            "a package upgraded behind our back",
            "dpkg -i /root/later.deb",
            f"runtime.packages.{UPGRADED}",
            r"^(\S+)\+later, accepted was \1: a package",
        ),
        Fault(
            "module missing for the running kernel",
            f"mv /{module_directory(kernel)}/nvidia-current.ko /root/",
            "nvidia.module_running",
            r"^nothing, accepted was 535\.309\.01: the running kernel has no NVIDIA module",
        ),
        Fault(
            "nouveau loaded",
            "modprobe nouveau",
            "nvidia.nouveau",
            "^true, accepted was false: nouveau is loaded",
        ),
    ]


@dataclass(frozen=True)
class Look:
    """One look of the device at itself: its report, and the metrics' lines."""

    report: dict[str, Any]
    metrics: list[str]

    def causes(self) -> dict[str, str]:
        """Item, as `area.item`, to cause."""
        return {f"{each['area']}.{each['item']}": each["cause"] for each in self.report["drift"]}

    def labels(self) -> set[str]:
        """Items that the metrics name, as `area.item`."""
        found = (
            re.fullmatch(r'edgewright_drift_item{area="(.*)",item="(.*)"} 1', line) for line in self.metrics
        )
        return {f"{each[1]}.{each[2]}" for each in found if each}


def next_look(site: Site) -> Look:
    """The first look that the timer begins from now on; nobody starts it by hand."""
    shown = site.ssh(
        f"last() {{ systemctl show -P LastTriggerUSecMonotonic {TIMER}; }}; before=$(last);"
        f' until [ "$(last)" != "$before" ]; do sleep 1; done;'
        f" while [ $(systemctl show -P ActiveState {SERVICE}) = activating ]; do sleep 1; done;"
        f" cat {REPORT}; echo; echo ----; cat {METRICS}"
    )
    report, _, metrics = shown.partition("\n----\n")
    return Look(json.loads(report), metrics.splitlines())


def at_once(site: Site, wanted: list[Fault]) -> None:
    """Make all faults in one go."""
    site.ssh("set -e\n" + "\n".join(each.command for each in wanted))


def take_back(site: Site) -> None:
    """Settle what a person settles: the claim in a file, the stray, and the file that was moved away."""
    kernel = _lock("label-reader")["kernel"]["release"]
    site.ssh(
        f"rm {DROP_IN}; kill $(cat /run/stray.pid); mv /root/nvidia-current.ko /{module_directory(kernel)}/"
    )


def start_without_parameters(site: Site) -> None:
    """Take the parameters out of the boot menu, as a hand on it would, and lose power."""
    site.ssh("sed -i -E 's/ (nohz_full|rcu_nocbs|irqaffinity)=[^ ]+//g' /boot/grub/grub.cfg && sync")
    site.kill()
    site.up()
