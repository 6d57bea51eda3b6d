# SPDX-License-Identifier: Apache-2.0
"""What a run costs: a bare twin, a run without drift, and the runtime's memory.

Makes a site of its own beside the example site, provisions its bare twin once, then runs site.yml again
`--repeats` times without drift. Counts wall seconds, the controller's CPU seconds (ansible-playbook and all
its children; the twin itself runs apart), and round trips: every `ssh` or `sftp` that Ansible runs for the
device. Writes `benchmarks/RESULTS.md` with the machine, the date and the command.

    python benchmarks/run.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.integration.site import Site  # noqa: E402  the path above makes it importable

RESULTS = ROOT / "benchmarks" / "RESULTS.md"


@dataclass(frozen=True)
class Cost:
    """One run: wall and controller CPU in seconds; ssh and sftp commands run for the device."""

    wall_s: float
    cpu_s: float
    round_trips: int


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(site: Site) -> Cost:
    """Run site.yml once and return what it cost; a failed run ends the benchmark."""
    before, begun = _cpu_s(), time.monotonic()
    run = site.play("-vvv")  # at this level Ansible names each command that it runs to reach the device
    wall, cpu = time.monotonic() - begun, _cpu_s() - before
    if run.returncode != 0:
        raise SystemExit(f"site.yml failed, so there is nothing to measure:\n{run.text[-4000:]}")
    return Cost(wall, cpu, run.text.count("> SSH: EXEC "))


def machine() -> str:
    """One line about this machine."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model}), {memory_gib:.0f} GiB, Linux {platform.release()}"


@dataclass(frozen=True)
class Memory:
    """Memory of the runtime on the device in MiB, and what runs the device's code."""

    rss_mib: float
    cgroup_mib: float
    accelerator: str


def report(bare: Cost, clean: list[Cost], memory: Memory, command: str) -> str:
    """The page of results, as Markdown."""
    median = Cost(
        statistics.median(cost.wall_s for cost in clean),
        statistics.median(cost.cpu_s for cost in clean),
        int(statistics.median(cost.round_trips for cost in clean)),
    )
    spread = f"{min(cost.wall_s for cost in clean):.1f} to {max(cost.wall_s for cost in clean):.1f}"
    lines = [
        "# Results",
        "",
        f"* Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        f"* Machine: {machine()}",
        f"* Command: `{command}`",
        f"* Device: VM twin, four CPUs, {memory.accelerator}; one device",
        "",
        "## A run of site.yml",
        "",
        "| | bare twin to accepted | without drift (median) | ratio |",
        "|---|---|---|---|",
        f"| wall, s | {bare.wall_s:.1f} | {median.wall_s:.1f} ({spread}, {len(clean)} runs) "
        f"| {median.wall_s / bare.wall_s:.3f} |",
        f"| controller CPU per device, s | {bare.cpu_s:.1f} | {median.cpu_s:.1f} "
        f"| {median.cpu_s / bare.cpu_s:.3f} |",
        f"| round trips to the device | {bare.round_trips} | {median.round_trips} "
        f"| {median.round_trips / bare.round_trips:.3f} |",
        "",
        "The bare run has one reboot and the acceptance in it; the depot and the twin were up before.",
        "Round trips are the ssh and sftp commands that Ansible ran for the device (one kept connection).",
        "",
        "## Memory of the runtime after load",
        "",
        "| | MiB |",
        "|---|---|",
        f"| resident set of the server process | {memory.rss_mib:.0f} |",
        f"| its cgroup, page cache included | {memory.cgroup_mib:.0f} |",
        "",
    ]
    return "\n".join(lines)


def read_memory(site: Site) -> Memory:
    """Read the runtime's memory on the device."""
    unit = "edgewright-runtime-a.service"
    cgroup = site.ssh(f"systemctl show -P MemoryCurrent {unit}")
    rss = site.ssh("ps -eo rss=,args= | grep '[e]dgewright_runtime' | sort -n | tail -n 1 | awk '{print $1}'")
    kind = site.ssh("systemd-detect-virt")
    return Memory(
        rss_mib=int(rss) / 1024,
        cgroup_mib=int(cgroup) / 2**20,
        accelerator="emulated CPU (TCG)" if kind == "qemu" else kind,
    )


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs without drift (default 5)")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="edgewright-bench-") as name,
        Site(Path(name), "bench-01", ssh_port=2231, depot_port=9463) as site,
    ):
        print("bench: starting the twin and preparing the controller, not measured", flush=True)
        site.up()
        prepared = site.play(playbook="playbooks/prepare_controller.yml")
        if prepared.returncode != 0:
            raise SystemExit(prepared.text[-4000:])
        print("bench: bare twin to accepted, once", flush=True)
        bare = measure(site)
        print(f"bench: {bare}", flush=True)
        clean = []
        for number in range(1, arguments.repeats + 1):
            clean.append(measure(site))
            print(f"bench: without drift, {number} of {arguments.repeats}: {clean[-1]}", flush=True)
        page = report(bare, clean, read_memory(site), "make bench")
    RESULTS.write_text(page, encoding="utf-8")
    print(page)
    subprocess.run(["git", "-C", str(ROOT), "diff", "--stat", "--", str(RESULTS)], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
