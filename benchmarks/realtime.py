# SPDX-License-Identifier: Apache-2.0
"""What the CPUs set apart are worth, and what the device's watch of itself costs.

On an accepted VM twin, whose CPUs are emulated where this host has no KVM: cyclictest inside the slice and
on the CPUs that are left to the system, in turns, while shell loops keep every CPU busy that they may run
on; and looks of the watch, by the CPU time that systemd counts for its service. The same program with the
same wants runs on a container twin as well, whose CPU is this host's own. Writes `RESULTS-realtime.md`.

    python benchmarks/realtime.py [--seconds 20] [--rounds 3] [--looks 5] [--site DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run import machine  # noqa: E402  the path above makes it importable
from edgewright.device.drift_watch import UNIT  # noqa: E402
from edgewright.device.probe_program import probe_program  # noqa: E402
from edgewright.record.statistics import quantile_weighted  # noqa: E402
from edgewright.twin import ContainerTwin, TwinSpec  # noqa: E402
from edgewright.twin.spec import CONTAINER_SUBNET  # noqa: E402
from tests.integration.site import BIN, Site  # noqa: E402

RESULTS = ROOT / "benchmarks" / "RESULTS-realtime.md"
PERIOD_S = 600
"""The role's own, from its defaults."""
MOST_SHARE = 0.001
"""Of one CPU, that the watch may cost."""
HISTOGRAM_US = 50_000
LOOPS = 4
INSIDE, OUTSIDE = "inside the partition", "outside"
CPUS = {INSIDE: "2-3", OUTSIDE: "0-1"}
KEPT = "/var/lib/edgewright/drift_watch/want.json"


@dataclass(frozen=True)
class Wakeups:
    """How late threads woke up: microseconds to count, and the worst."""

    counts: dict[float, int]
    worst_us: int

    @classmethod
    def of(cls, reports: list[dict[str, Any]]) -> Wakeups:
        """From cyclictest's JSON of several runs; what is beyond its histogram counts as its worst."""
        counts: dict[float, int] = {}
        worst = 0
        for thread in (each for report in reports for each in report["thread"].values()):
            worst = max(worst, int(thread["max"]))
            told = {float(late): int(count) for late, count in (thread.get("histogram") or {}).items()}
            beyond = int(thread["cycles"]) - sum(told.values())
            if beyond > 0:
                told[float(thread["max"])] = told.get(float(thread["max"]), 0) + beyond
            for late, count in told.items():
                counts[late] = counts.get(late, 0) + count
        return cls(counts, worst)

    def row(self) -> tuple[float, float, float]:
        """p50, p99 and the worst, in microseconds."""
        p50, p99 = (quantile_weighted(self.counts, p).value for p in (0.5, 0.99))
        return p50, p99, float(self.worst_us)


@dataclass(frozen=True)
class Looks:
    """What looks of the watch cost, in CPU seconds each."""

    own: list[float]
    service: list[float]

    @property
    def cost(self) -> float:
        """Median of the dearer account."""
        return statistics.median(self.service or self.own)


def cyclictest(site: Site, where: str, seconds: int) -> dict[str, Any]:
    """Run it once on the device and return its JSON."""
    place = "--slice=edgert.slice" if where == INSIDE else "--slice=system.slice"
    out = "/run/edgewright-bench.json"
    site.ssh(
        f"systemd-run --quiet --wait --collect {place} --unit=edgewright-bench -p LimitMEMLOCK=infinity"
        f" -p StandardOutput=null cyclictest --quiet --mlockall --priority=80 --threads=2"
        f" --affinity={CPUS[where]} --interval=1000 --distance=0 --duration={seconds}"
        f" --histogram={HISTOGRAM_US} --json={out}"
    )
    found: dict[str, Any] = json.loads(site.ssh(f"cat {out}; rm {out}"))
    return found


@contextlib.contextmanager
def stress(site: Site) -> Iterator[None]:
    """Shell loops that count and write, on whatever CPUs the system leaves to them."""
    loop = "while :; do i=$((i+1)); [ $((i % 2000)) -ne 0 ] || sync -f /var/tmp; done"
    units = " ".join(f"edgewright-stress-{number}.service" for number in range(LOOPS))
    for unit in units.split():
        site.ssh(f"systemd-run --quiet --unit={unit} sh -c '{loop}'")
    try:
        yield
    finally:
        site.ssh(f"systemctl stop {units}", check=False)


def measure_wakeups(site: Site, seconds: int, rounds: int) -> dict[str, Wakeups]:
    """Both places in turns, under stress."""
    reports: dict[str, list[dict[str, Any]]] = {INSIDE: [], OUTSIDE: []}
    with stress(site):
        for number in range(rounds):
            for where, found in reports.items():
                found.append(cyclictest(site, where, seconds))
                print(f"bench: cyclictest {where}, {number + 1} of {rounds}", flush=True)
    return {where: Wakeups.of(found) for where, found in reports.items()}


def measure_watch(site: Site, looks: int) -> Looks:
    """Looks on the VM, as its service makes them."""
    own, service = [], []
    for _ in range(looks):
        site.ssh(f"systemctl start {UNIT}.service")
        report = json.loads(site.ssh("cat /run/edgewright/drift_watch/report.json"))
        own.append(float(report["cpu_s"]))
        service.append(int(site.ssh(f"systemctl show -P CPUUsageNSec {UNIT}.service")) / 1e9)
    return Looks(own, service)


def measure_native(site: Site, looks: int, state: Path) -> Looks:
    """The same program and wants on a container twin, which runs on this host's own CPU.

    It has no partition and no server, so these are read as absent; podman is not on it, and what asking it
    costs is measured on this host and added.
    """
    kept = json.loads(site.ssh(f"cat {KEPT}"))
    kept["at"] = {"report": "/run/report.json", "metrics": "/run/metrics.prom"}
    spec = TwinSpec(
        name="bench-watch", kind="container", state_dir=state, port=22, address=str(CONTAINER_SUBNET[243])
    )
    twin = ContainerTwin(spec)
    own = []
    try:
        twin.up()
        for path, text in {"/root/probe.py": probe_program().data.decode(), KEPT: json.dumps(kept)}.items():
            copied = twin.run(f"mkdir -p {Path(path).parent} && cat > {path}", stdin=text)
            if copied.returncode != 0:
                raise SystemExit(f"bench: {path} was not written: {copied.stderr}")
        for _ in range(looks):
            done = twin.run(f"python3 -I -S -B /root/probe.py watch {KEPT} && cat /run/report.json")
            if done.returncode != 0:
                raise SystemExit(f"bench: the look failed: {done.stderr}")
            own.append(float(json.loads(done.stdout)["cpu_s"]) + podman_s())
    finally:
        twin.purge()
    return Looks(own, [])


def podman_s() -> float:
    """CPU seconds of one `podman container inspect` on this host, as a look asks it; 0 without podman."""
    if shutil.which("podman") is None:
        return 0.0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["podman", "container", "inspect", "edgewright-none"], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured_system(site: Site) -> str:
    """Kernel and partition, as the device itself tells them; without both there is nothing to compare."""
    kernel = site.ssh("uname -rv")
    partition = site.ssh("cat /sys/fs/cgroup/edgert.slice/cpuset.cpus.partition", check=False)
    cpus = site.ssh("cat /sys/fs/cgroup/edgert.slice/cpuset.cpus.effective", check=False)
    if "PREEMPT_RT" not in kernel or partition != "isolated" or cpus != CPUS[INSIDE]:
        raise SystemExit(
            f"bench: expected a PREEMPT_RT kernel and CPUs {CPUS[INSIDE]} isolated on {site.device}, got"
            f" kernel {kernel!r}, partition {partition!r} of CPUs {cpus!r}; run site.yml on it first"
        )
    return f"Linux {kernel.split()[0]} (PREEMPT_RT), cpuset partition {partition} on CPUs {cpus}"


def report(  # noqa: PLR0917 - one page of one run
    wakeups: dict[str, Wakeups],
    emulated: Looks,
    native: Looks,
    kind: str,
    system: str,
    arguments: argparse.Namespace,
) -> str:
    """The page of results, as Markdown."""
    inside, outside = wakeups[INSIDE].row(), wakeups[OUTSIDE].row()
    names = ("p50, us", "p99, us", "worst seen, us")
    lines = [
        "# Results: wake-up latency and the watch",
        "",
        f"* Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        f"* Machine: {machine()}",
        f"* Command: `python benchmarks/realtime.py --seconds {arguments.seconds} --rounds {arguments.rounds}"
        f" --looks {arguments.looks}`",
        f"* Device: VM twin, four CPUs, {kind}, {system}",
        f"* Load average of the host at the end: {os.getloadavg()[1]:.1f}",
        "",
        f"## cyclictest under stress ({kind})",
        "",
        f"Two threads, SCHED_FIFO 80, every 1000 us, {arguments.rounds} x {arguments.seconds} s in turns at"
        f" each place; {LOOPS} shell loops that count and sync run meanwhile.",
        "",
        f"| | {INSIDE} (CPUs 2-3) | {OUTSIDE} (CPUs 0-1) | outside / inside |",
        "|---|---|---|---|",
        f"| wake-ups | {sum(wakeups[INSIDE].counts.values())} | {sum(wakeups[OUTSIDE].counts.values())} | |",
        *(
            f"| {name} | {one:.0f} | {other:.0f} | {other / max(one, 1):.1f} |"
            for name, one, other in zip(names, inside, outside, strict=True)
        ),
        "",
        "Observed, not guaranteed. Where the CPU is emulated the host decides when a virtual CPU runs: the",
        "figures say nothing of a device, their ratio only whether the partition keeps the load off.",
        "",
        "## The watch",
        "",
        f"CPU seconds of one look, as a share of one CPU at the usual period of {PERIOD_S} s; at most"
        f" {MOST_SHARE:.1%} is wanted of a device.",
        "",
        "| | looks | CPU s of one (median) | share of one CPU | |",
        "|---|---|---|---|---|",
        _row(f"VM twin, {kind}, systemd's CPUUsageNSec of the service", emulated),
        _row("container twin, this host's own CPU, the VM's wants, and podman's part", native),
        "",
        "The container twin has no partition and no server: what is read of them is absent there. By its",
        "own count, which every device tells as `edgewright_watch_cpu_seconds`, one on the VM took"
        f" {statistics.median(emulated.own):.2f} s.",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, looks: Looks) -> str:
    share = looks.cost / PERIOD_S
    word = "reached" if share < MOST_SHARE else "missed"
    return f"| {name} | {len(looks.own)} | {looks.cost:.2f} | {share:.3%} | {word} |"


@contextlib.contextmanager
def provisioned(given: Path | None, state: Path) -> Iterator[Site]:
    """A site whose twin is accepted: a given one that is up, or one made for this and taken down after it."""
    if given is not None:
        name = next(path.name for path in (given / "inventory" / "host_vars").iterdir())
        known = _variables(given, name)
        parallel = bool(known["edgewright_twin"].get("parallel"))
        yield Site(given, name, ssh_port=int(known["ansible_port"]), depot_port=0, parallel=parallel)
        return
    with Site(state / "site", "bench-rt-01", ssh_port=2233, depot_port=9464, parallel=True) as site:
        print("bench: provisioning the twin, not measured", flush=True)
        site.up()
        run = site.play()
        if run.returncode != 0:
            raise SystemExit(f"site.yml failed, so there is nothing to measure:\n{run.text[-4000:]}")
        yield site


def _variables(given: Path, host: str) -> dict[str, Any]:
    asked = [str(BIN / "ansible-inventory"), "-i", str(given / "inventory"), "--host", host]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="Measure wake-up latency and the cost of the watch.")
    parser.add_argument("--seconds", type=int, default=20, help="of one run of cyclictest")
    parser.add_argument("--rounds", type=int, default=3, help="runs of cyclictest at each place")
    parser.add_argument("--looks", type=int, default=5, help="looks of the watch")
    parser.add_argument("--site", type=Path, help="a site of the tests whose twin is up; makes one otherwise")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="edgewright-bench-") as name,
        provisioned(arguments.site, Path(name)) as site,
    ):
        virtual = site.ssh("systemd-detect-virt")
        kind = "emulated CPU (TCG)" if virtual == "qemu" else virtual
        system = measured_system(site) + (", a thread of the host's for each CPU" if site.parallel else "")
        emulated = measure_watch(site, arguments.looks)
        print(f"bench: {emulated}", flush=True)
        native = measure_native(site, arguments.looks, Path(name) / "native")
        print(f"bench: {native}", flush=True)
        wakeups = measure_wakeups(site, arguments.seconds, arguments.rounds)
        page = report(wakeups, emulated, native, kind, system, arguments)
    RESULTS.write_text(page, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
