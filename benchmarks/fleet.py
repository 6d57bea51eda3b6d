# SPDX-License-Identifier: Apache-2.0
"""What it costs to find that nothing drifted, on 1 to 100 devices, beside three ways to hold the same state.

The devices are sshd processes with roots of their own (tests/integration/sshd_devices.py), laid out as the
roles
leave them: an identity, a depot and the kept probe. The same state, as a list of settings, is held by a plain
role (one task a setting), by the same role under mitogen, and by pyinfra, each with its documented fast
settings. All take turns in one run, so that a busy machine slows all of them. The floor is measured beside
them: one ssh command a device that starts python3 and does nothing. Wall seconds, and CPU seconds of the
controller and of the devices apart. Writes `benchmarks/RESULTS-fleet.md`, losing cases too.

    python benchmarks/fleet.py [--devices 1,10,20,50,100] [--repeats 3]

The peers are installed into an environment of their own in the cache (versions below); nothing of Edgewright
needs them. Needs root, for the devices' namespaces.
"""

from __future__ import annotations

import argparse
import configparser
import datetime
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run import machine  # noqa: E402  the path above makes both importable
from edgewright.device.probe_program import probe_program  # noqa: E402
from edgewright.paths import cache_dir  # noqa: E402
from tests.integration.sshd_devices import SshdFleet, missing_tools  # noqa: E402

RESULTS = ROOT / "benchmarks" / "RESULTS-fleet.md"
PEERS = ("ansible-core==2.19.14", "mitogen==0.3.54", "pyinfra==3.10.0")
FORKS = 20
# The machine's load over the last minute, after each run.
LOADS: list[float] = []
# What Edgewright's probe reads of this state, one by one; the peers' settings are counted as they are listed.
PROBE_ITEMS = 29
# Beyond this a way that takes minutes has one turn.
_FEW = 50


@dataclass(frozen=True)
class Cost:
    """One run: wall seconds; CPU seconds of the controller, and of all devices together."""

    wall_s: float
    controller_s: float
    device_s: float


@dataclass(frozen=True)
class Way:
    """One way to hold the state.

    Attributes:
        name: as the table has it.
        command: argument list.
        environment: variables for it.
        warm: whether the connections of the run before are kept.
        most: devices beyond which it is not measured any more: it would take most of the benchmark's time.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    warm: bool = False
    most: int = 1000


def peers() -> Path:
    """Programs of the environment that holds the peers, made when it is missing."""
    where = cache_dir() / "bench-peers-1"
    if not (where / "done").exists():
        shutil.rmtree(where, ignore_errors=True)
        print(f"bench: installing {', '.join(PEERS)}", flush=True)
        venv.create(where, with_pip=True)
        subprocess.run([where / "bin/pip", "install", "-qq", *PEERS], check=True)
        (where / "done").touch()
    return where / "bin"


def settings(fleet: SshdFleet, name: str) -> list[dict[str, Any]]:
    """The state of a device as a list of settings, for the peers."""
    wants = fleet.wants(name)
    depot, files = wants["depot_client"], fleet.devices[name].base / "files"
    identity = "/etc/edgewright/identity"
    contents = [
        *depot["files"],
        depot["depot"]["keyring"],
        f"{identity}/site-root.crt",
        f"{identity}/device.crt",
        "/etc/apt/sources.list",
        next(f"/{path.relative_to(files)}" for path in (files / "var/lib/apt/lists").glob("*_InRelease")),
        wants["drift_watch"]["at"]["program"],
    ]
    found: list[dict[str, Any]] = [{"file": path, "source": str(files / path[1:])} for path in contents]
    registry = depot["depot"]["registry"]
    for link in sorted((files / registry[1:]).iterdir()):
        found.append({"link": f"{registry}/{link.name}", "target": str(link.readlink())})
    found.append({"access": f"{identity}/device.key", "mode": "0400", "owner": "_apt"})
    found += [{"absent": path} for path in wants["drift_watch"]["files"]]
    found += [
        {"package": name, "version": version} for name, version in wants["identity"]["packages"].items()
    ]
    return found


def task(number: int, setting: dict[str, Any]) -> dict[str, Any]:
    """One setting as a task of a plain role. Each device has its own files on the controller."""
    name = f"Setting {number}"
    if "file" in setting:
        source = setting["source"].replace("/devices/d01/", "/devices/{{ inventory_hostname }}/")
        copied = {"src": source, "dest": setting["file"], "mode": "0644"}
        return {"name": name, "ansible.builtin.copy": copied}
    if "link" in setting:
        link = {"path": setting["link"], "src": setting["target"], "state": "link"}
        return {"name": name, "ansible.builtin.file": link}
    if "access" in setting:
        access = {"path": setting["access"], "mode": setting["mode"], "owner": setting["owner"]}
        return {"name": name, "ansible.builtin.file": access}
    if "absent" in setting:
        return {"name": name, "ansible.builtin.file": {"path": setting["absent"], "state": "absent"}}
    # Not ansible.builtin.apt, which would load apt's whole cache each time: the cheapest task that tells.
    argv = ["dpkg-query", "-W", "-f", "${Version}", setting["package"]]
    return {
        "name": name,
        "ansible.builtin.command": {"argv": argv},
        "register": "asked",
        "changed_when": False,
        "failed_when": f"asked.stdout != '{setting['version']}'",
    }


# One ssh command a device, as many at a time as there are forks; no Ansible. Arguments: inventory, options.
_FLOOR = """
import shlex, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
import yaml
devices = yaml.safe_load(open(sys.argv[1]))["devices"]
shared, options = devices["vars"], shlex.split(sys.argv[2])
def one(port):
    argv = ["ssh", *options, *shlex.split(shared["ansible_ssh_common_args"]), "-p", str(port), "-l", "root"]
    argv += ["-i", shared["ansible_ssh_private_key_file"], shared["ansible_host"]]
    argv.append("/usr/bin/python3 -I -S -c 1")
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
with ThreadPoolExecutor(FORKS) as pool:
    list(pool.map(one, [host["ansible_port"] for host in devices["hosts"].values()]))
"""
_DEPLOY = """
from pyinfra import host
from pyinfra.operations import apt, files
for number, setting in enumerate(host.data.settings):
    name = f"Setting {number}"
    if "file" in setting:
        files.put(name=name, src=setting["source"], dest=setting["file"], mode="644")
    elif "link" in setting:
        files.link(name=name, path=setting["link"], target=setting["target"])
    elif "access" in setting:
        files.file(name=name, path=setting["access"], mode=setting["mode"].lstrip("0"), user=setting["owner"])
    elif "absent" in setting:
        files.file(name=name, path=setting["absent"], present=False)
    else:
        apt.packages(name=name, packages=[f"{setting['package']}={setting['version']}"])
"""


def lay_out(fleet: SshdFleet, where: Path) -> int:
    """Write the plain role's playbook and inventory, and pyinfra's; returns the number of settings."""
    where.mkdir()
    each = {name: settings(fleet, name) for name in fleet.devices}
    first = next(iter(each.values()))
    tasks = [task(number, setting) for number, setting in enumerate(first)]
    play = [{"hosts": "devices", "gather_facts": False, "tasks": tasks}]
    (where / "plain.yml").write_text(yaml.safe_dump(play, sort_keys=False))
    hosts = [
        (
            name,
            {
                "ssh_hostname": "127.0.0.1",
                "ssh_port": device.port,
                "ssh_user": "root",
                "ssh_key": str(fleet.state / "ssh_key"),
                "ssh_known_hosts_file": str(fleet.state / "known_hosts"),
                "ssh_strict_host_key_checking": "yes",
                "settings": each[name],
            },
        )
        for name, device in fleet.devices.items()
    ]
    (where / "inventory.py").write_text(f"devices = {hosts!r}\n")
    (where / "deploy.py").write_text(_DEPLOY)
    (where / "floor.py").write_text(_FLOOR.replace("FORKS", str(FORKS)))
    role = {"hosts": "devices", "gather_facts": False, "roles": ["edgewright.factory.drift_watch"]}
    (where / "role.yml").write_text(yaml.safe_dump([role], sort_keys=False))
    return len(first)


def ways(fleet: SshdFleet, where: Path) -> list[Way]:
    """All ways, in the order in which they take turns."""
    programs, inventory = peers(), ["-i", str(fleet.inventory)]
    ours = str(Path(sys.executable).parent / "ansible-playbook")
    theirs = str(programs / "ansible-playbook")
    plain = {
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.default",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "ANSIBLE_FORKS": str(FORKS),
    }
    mitogen = subprocess.run(
        [programs / "python", "-c", "import ansible_mitogen; print(ansible_mitogen.__path__[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with_mitogen = {
        **plain,
        "ANSIBLE_STRATEGY_PLUGINS": f"{mitogen}/plugins/strategy",
        "ANSIBLE_STRATEGY": "mitogen_linear",
    }
    converge = [ours, *inventory, "playbooks/converge_devices.yml"]
    site = [ours, *inventory, "site.yml"]
    drift = [str(Path(ours).parent / "edgewright"), "drift", *inventory]
    floor = [sys.executable, str(where / "floor.py"), str(fleet.inventory / "hosts.yml")]
    pyinfra = [str(programs / "pyinfra"), "-y", "--parallel", str(FORKS), "inventory.py", "deploy.py"]
    return [
        Way("Edgewright, converge_devices.yml, cold", converge, {}),
        Way("Edgewright, converge_devices.yml, warm", converge, {}, warm=True),
        Way("Edgewright, site.yml, cold", site, {}),
        Way("Edgewright, site.yml, warm", site, {}, warm=True),
        Way("Edgewright, `edgewright drift`, cold", drift, {}),
        Way("Edgewright, `edgewright drift`, warm", drift, {}, warm=True),
        Way("pyinfra", pyinfra, {}),
        Way("floor: ssh and python3, cold", [*floor, _ssh_options()], {}),
        Way("floor: ssh and python3, cold, OpenSSH's own key exchange", [*floor, ""], {}),
        Way("plain role, mitogen", [theirs, *inventory, str(where / "plain.yml")], with_mitogen, most=20),
        Way("plain role", [theirs, *inventory, str(where / "plain.yml")], plain, most=20),
    ]


def _ssh_options() -> str:
    """`ssh_args` of the checkout's configuration, without those that keep a connection."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "ansible.cfg")
    return re.sub(r"-o Control\S+", "", parser["ssh_connection"]["ssh_args"])


def measure(fleet: SshdFleet, way: Way, where: Path) -> Cost:
    """Run one way once. A run that fails, or changes anything, ends the benchmark: it held another state."""
    if not way.warm:
        fleet.disconnect()
    directory = where if way.name == "pyinfra" else ROOT
    devices, controller, begun = _devices_s(fleet), _children_s(), time.monotonic()
    done = subprocess.run(
        way.command,
        cwd=directory,
        env=fleet.environment(**way.environment),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    LOADS.append(os.getloadavg()[0])
    cost = Cost(time.monotonic() - begun, _children_s() - controller, _devices_s(fleet) - devices)
    text = done.stdout + done.stderr
    if done.returncode != 0 or (
        not way.name.startswith(("pyinfra", "floor")) and _unchanged(text) < len(fleet.devices)
    ):
        raise SystemExit(f"{way.name} failed, or changed something:\n{text[-4000:]}")
    return cost


def _unchanged(text: str) -> int:
    """Devices that a run says it found as wanted: Ansible's recap, or the last line of `edgewright drift`."""
    told = re.search(r"^\d+ devices?: (\d+) as wanted$", text, re.MULTILINE)
    return int(told[1]) if told else text.count("changed=0")


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _devices_s(fleet: SshdFleet) -> float:
    return sum(device.cpu_s() for device in fleet.devices.values())


def median(costs: list[Cost]) -> Cost:
    """Each part's median."""
    return Cost(
        *(statistics.median(values) for values in zip(*(_parts(cost) for cost in costs), strict=True))
    )


def _parts(cost: Cost) -> tuple[float, float, float]:
    return cost.wall_s, cost.controller_s, cost.device_s


def page(
    results: dict[int, dict[str, list[Cost]]], count: int, changed: dict[str, list[Cost]], command: str
) -> str:
    """The page of results, as Markdown."""
    lines = [
        "# Results: many devices",
        "",
        f"* Date: {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        f"* Machine: {machine()}; controller and devices share it",
        f"* Command: `{command}`",
        f"* Devices: sshd processes with roots of their own, {count} settings each as the peers hold them,"
        f" {PROBE_ITEMS} items as the probe reads them; nothing has drifted",
        f"* Peers: {', '.join(PEERS)}; {FORKS} devices at a time; pipelining and kept connections where"
        " there are",
        "* Cold: no connection from before; warm: those of the run before. pyinfra keeps none between runs.",
        "* Medians; all ways took turns.",
        f"* Load over the runs: {min(LOADS):.0f} to {max(LOADS):.0f}, median {statistics.median(LOADS):.0f},"
        f" on {os.cpu_count()} cores; where it is far above them, other work ran beside, and of wall times"
        " only the ratios mean something.",
        "* Other work beside slows a way that runs on one core at a time, as Ansible's start does, more than"
        " one with a process for each device; the CPU of controller and devices together depends less on it.",
        "* The floor does nothing on a device but start python3 by one ssh command, without Ansible.",
        "",
    ]
    for devices, ways_costs in sorted(results.items()):
        base = median(ways_costs["pyinfra"])
        lines += [
            f"## {devices} device{'s' if devices > 1 else ''}",
            "",
            "| | wall s | of pyinfra's | controller CPU s | ms a host-setting | CPU s a device"
            " | all CPU, of pyinfra's | runs |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, costs in ways_costs.items():
            cost = median(costs)
            each = cost.controller_s * 1000 / (devices * count)
            lines.append(
                f"| {name} | {cost.wall_s:.2f} | {cost.wall_s / base.wall_s:.2f} | {cost.controller_s:.2f}"
                f" | {each:.1f} | {cost.device_s / devices:.3f}"
                f" | {(cost.controller_s + cost.device_s) / (base.controller_s + base.device_s):.2f}"
                f" | {len(costs)} |"
            )
        lines.append("")
    if changed:
        theirs_s = median(changed["pyinfra"]).wall_s
        lines += [
            "## One changed setting on each of 20 devices",
            "",
            "The kept probe is gone, as with a new version of Edgewright. The playbook has it put back side"
            " by side; the role alone, as where more than that differs, does it device by device.",
            "",
            "| | wall s | of pyinfra's | controller CPU s | CPU s a device | runs |",
            "|---|---|---|---|---|---|",
        ]
        for name, costs in changed.items():
            cost = median(costs)
            lines.append(
                f"| {name} | {cost.wall_s:.2f} | {cost.wall_s / theirs_s:.2f} | {cost.controller_s:.2f}"
                f" | {cost.device_s / 20:.3f} | {len(costs)} |"
            )
        lines.append("")
    return "\n".join([*lines, *targets(results, changed, count), ""])


def targets(
    results: dict[int, dict[str, list[Cost]]], changed: dict[str, list[Cost]], count: int
) -> list[str]:
    """What was aimed at, and what came out, lost ones too."""
    devices = 20 if 20 in results else max(results)
    cost = {name: median(costs) for name, costs in results[devices].items()}
    cold, warm = cost["Edgewright, site.yml, cold"], cost["Edgewright, site.yml, warm"]
    rows: list[tuple[str, float, float]] = [
        ("site.yml cold, of pyinfra's wall time", cold.wall_s / cost["pyinfra"].wall_s, 0.6),
        ("site.yml warm, of pyinfra's wall time", warm.wall_s / cost["pyinfra"].wall_s, 0.25),
        ("controller CPU, ms a host-setting", cold.controller_s * 1000 / (devices * count), 4.0),
        ("CPU s a device, cold", cold.device_s / devices, 0.15),
    ]
    if "plain role" in cost:
        rows.insert(
            1, ("site.yml cold, of the plain role's wall time", cold.wall_s / cost["plain role"].wall_s, 0.05)
        )
    if changed:
        ours, theirs = median(changed["Edgewright, converge_devices.yml"]), median(changed["pyinfra"])
        rows.append(("one changed setting, of pyinfra's wall time", ours.wall_s / theirs.wall_s, 0.6))
    lines = [f"## Aims, with {devices} devices", "", "| | measured | aim | |", "|---|---|---|---|"]
    for name, got, aim in rows:
        lines.append(f"| {name} | {got:.2f} | {aim:g} | {'reached' if got <= aim else '**missed**'} |")
    return lines


def change_one(fleet: SshdFleet, where: Path, repeats: int) -> dict[str, list[Cost]]:
    """Take the kept probe away from every device and have it put back, by each of the fast ways in turn."""
    path = next(iter(fleet.wants("d01")["drift_watch"]["at"].values()))
    chosen = {
        way.name.removesuffix(", cold"): way
        for way in ways(fleet, where)
        if way.name in ("Edgewright, converge_devices.yml, cold", "pyinfra")
    }
    argv = [chosen["Edgewright, converge_devices.yml"].command[0], "-i", str(fleet.inventory)]
    chosen["Edgewright, the role drift_watch alone"] = Way("role", [*argv, str(where / "role.yml")], {})
    found: dict[str, list[Cost]] = {}
    for number in range(repeats):
        for name, way in chosen.items():
            if number and way.name == "role":
                continue
            for device in fleet.devices.values():
                device.run(f"rm {path}")
            cost = _changing(fleet, way, where)
            found.setdefault(name, []).append(cost)
            print(f"bench: one changed setting: {name}: {cost.wall_s:.2f} s", flush=True)
            for device in fleet.devices.values():
                kept = device.run(f"sha256sum {path}")
                assert probe_program().sha256 in kept, f"{name} did not put it back"  # noqa: S101
    return found


def _changing(fleet: SshdFleet, way: Way, where: Path) -> Cost:
    fleet.disconnect()
    devices, controller, begun = _devices_s(fleet), _children_s(), time.monotonic()
    done = subprocess.run(
        way.command,
        cwd=where if way.name == "pyinfra" else ROOT,
        env=fleet.environment(**way.environment),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise SystemExit(f"{way.name} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return Cost(time.monotonic() - begun, _children_s() - controller, _devices_s(fleet) - devices)


def run_size(
    devices: int, repeats: int, changing: bool
) -> tuple[dict[str, list[Cost]], int, dict[str, list[Cost]]]:
    """Measure all ways on one number of devices."""
    with (
        tempfile.TemporaryDirectory(prefix="edgewright-bench-") as name,
        SshdFleet(Path(name) / "fleet", devices) as fleet,
    ):
        fleet.provision()
        count = lay_out(fleet, Path(name) / "peers")
        fleet.start()
        costs: dict[str, list[Cost]] = {}
        say: Callable[[str], None] = lambda text: print(f"bench: {devices} devices: {text}", flush=True)  # noqa: E731
        for number in range(repeats):
            for way in ways(fleet, Path(name) / "peers"):
                long = way.name.startswith("plain role") or (devices > _FEW and way.name == "pyinfra")
                if devices > way.most or (number and long and devices > 1):
                    continue
                cost = measure(fleet, way, Path(name) / "peers")
                costs.setdefault(way.name, []).append(cost)
                say(
                    f"{way.name}: {cost.wall_s:.2f} s, controller {cost.controller_s:.2f}, devices"
                    f" {cost.device_s:.2f}"
                )
        changed = change_one(fleet, Path(name) / "peers", repeats) if changing else {}
        return costs, count, changed


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", default="1,10,20,50,100", help="numbers of devices (default: these)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way (default 3)")
    arguments = parser.parse_args()
    missing = missing_tools()
    if missing:
        print(f"bench: fleet skipped: this machine lacks {', '.join(missing)}")
        return 0
    results: dict[int, dict[str, list[Cost]]] = {}
    changed: dict[str, list[Cost]] = {}
    for devices in map(int, arguments.devices.split(",")):
        costs, count, found = run_size(devices, arguments.repeats, changing=devices == 20)
        results[devices] = costs
        changed = found or changed
        command = " ".join(["python", "benchmarks/fleet.py", *sys.argv[1:]])
        RESULTS.write_text(page(results, count, changed, command), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
