# SPDX-License-Identifier: Apache-2.0
"""`device_state` and `validate_inventory` through ansible-playbook, on this machine as the device.

This machine is not provisioned, so there is drift. Each run is a real one: a real play, the module
packed and started by Ansible, the device's real files read.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgewright.device.areas import AREA_NAMES
from edgewright.paths import collection_root

ROOT = collection_root()
# The places on a device that the roles write to; none may change under a probe.
PLACES = (
    "/etc/edgewright",
    "/etc/apt",
    "/etc/containers",
    "/etc/default",
    "/etc/sysctl.d",
    "/etc/systemd/system",
    "/etc/nginx",
    "/var/lib/edgewright",
    "/run/edgewright",
)
PODMANS_OWN = "/etc/containers/networks"
VARIABLES = {
    "edgewright_profile": "x86_vm",
    "isolation_cpus": "2-3",
    "depot_client_url": "https://10.0.2.100:8443",
}


def _lock() -> dict[str, Any]:
    """A lock with the real one's shape and packages; its digests need not exist to be compared."""
    real = ROOT / "releases/label-reader/release.lock.yml"
    return yaml.safe_load(real.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Run:
    """What one ansible-playbook did: exit status, results by task name, everything it printed."""

    rc: int
    results: dict[str, dict[str, Any]]
    output: str


@dataclass(frozen=True)
class Site:
    """An inventory with one device, which is this machine, and one controller."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Site:
        """A site with good variables below a directory."""
        for folder in ("inventory/group_vars", "inventory/host_vars", "release", "state"):
            (path / folder).mkdir(parents=True)
        (path / "release/release.lock.yml").write_text(yaml.safe_dump(_lock()), encoding="utf-8")
        made = cls(path)
        made.hosts("reader-01")
        made.variables()
        return made

    def hosts(self, *devices: str) -> None:
        """Write the inventory's hosts."""
        local = {"ansible_connection": "local"}
        groups = {
            "devices": {"hosts": dict.fromkeys(devices, local)},
            "controller": {"hosts": {"localhost": local}},
        }
        (self.path / "inventory/hosts.yml").write_text(yaml.safe_dump(groups), encoding="utf-8")

    def faulty(self, cases: dict[str, dict[str, Any]]) -> dict[str, str]:
        """Make one device for each case, with these changes; None takes a variable away from all.

        Returns:
            Case to device.
        """
        names = {case: f"device-{number:02}" for number, case in enumerate(cases, 1)}
        self.hosts(*names.values())
        self.variables(**dict.fromkeys(self._values(), None))
        for case, name in names.items():
            values = {**self._values(), **cases[case]}
            text = yaml.safe_dump({key: value for key, value in values.items() if value is not None})
            (self.path / f"inventory/host_vars/{name}.yml").write_text(text, encoding="utf-8")
        return names

    def _values(self) -> dict[str, Any]:
        places = {"edgewright_state_dir": "state", "edgewright_release_dir": "release"}
        return {**VARIABLES, **{name: str(self.path / place) for name, place in places.items()}}

    def variables(self, **changes: Any) -> None:
        """Write the variables of all hosts: the good ones, changed; None takes one away."""
        values = {**self._values(), **changes}
        text = yaml.safe_dump({name: value for name, value in values.items() if value is not None})
        (self.path / "inventory/group_vars/all.yml").write_text(text, encoding="utf-8")

    def stack(self, until: str) -> None:
        """Lock an NVIDIA stack for profile `x86_t4`, with a waiver until a day."""
        entry = {
            "profile": "x86_t4",
            "target": "bookworm/amd64",
            "origin": "debian",
            "chosen": {"arch": "amd64", "gpu": "t4", "suite": "bookworm", "kernel-flavour": "rt"},
            "unlocked": [],
            "warnings": [],
            "waiver": {"who": "Ada", "why": "the line", "until": until},
        }
        text = yaml.safe_dump({**_lock(), "nvidia": [entry]})
        (self.path / "release/release.lock.yml").write_text(text, encoding="utf-8")

    def play(self, task: dict[str, Any], *options: str, hosts: str = "devices") -> Run:
        tasks = [{"name": "task", **task, "register": "answer"}]
        play = [{"name": "play", "hosts": hosts, "gather_facts": False, "tasks": tasks}]
        (self.path / "play.yml").write_text(yaml.safe_dump(play), encoding="utf-8")
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_PIPELINING": "1",
        }
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                "-i",
                str(self.path / "inventory"),
                str(self.path / "play.yml"),
                *options,
            ],
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
            check=False,
        )
        answer: dict[str, dict[str, Any]] = {}
        start = done.stdout.find('{\n    "custom_stats"')
        if start >= 0:
            told = json.JSONDecoder().raw_decode(done.stdout[start:])[0]
            for entry in told["plays"][0]["tasks"]:
                answer.update(entry["hosts"])
        return Run(done.returncode, answer, done.stdout + done.stderr)

    def state(self, *options: str, **arguments: Any) -> dict[str, Any]:
        run = self.play(
            {
                "edgewright.factory.device_state": {
                    "lock": "{{ edgewright_release_dir }}/release.lock.yml",
                    **arguments,
                }
            },
            *options,
        )
        assert "reader-01" in run.results, run.output
        return run.results["reader-01"]

    def validate(self, hosts: str = "devices") -> Run:
        return self.play(
            {
                "edgewright.factory.validate_inventory": {
                    "lock": "{{ edgewright_release_dir }}/release.lock.yml"
                }
            },
            hosts=hosts,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site of its own for a test."""
    return Site.make(tmp_path / "site")


def _snapshot() -> dict[str, tuple[int, ...]]:
    """Every file in the places that roles write to: inode, size and ctime in ns; of a directory its inode.

    Left out is what podman writes there by itself, for the containers of other tests.
    """
    found: dict[str, tuple[int, ...]] = {}
    for place in PLACES:
        for path in [Path(place), *Path(place).rglob("*")]:
            if path.is_relative_to(PODMANS_OWN):
                continue
            try:
                info = path.lstat()
            except FileNotFoundError:
                continue
            whole = (info.st_ino, info.st_size, info.st_ctime_ns)
            found[str(path)] = whole[:1] if stat.S_ISDIR(info.st_mode) else whole
    return found


def test_check_real_check_real_finds_the_same_and_changes_nothing(site: Site) -> None:
    before = _snapshot()
    runs = [site.state(*options) for options in (("--check", "--diff"), (), ("--check",), ())]
    assert _snapshot() == before

    assert [run["changed"] for run in runs] == [True, False, True, False]
    first = runs[0]
    for run in runs:
        assert not run.get("failed")
        assert run["drift"] == first["drift"]
        assert run["want"] == first["want"]
    assert sorted(first["want"]) == sorted(AREA_NAMES)
    assert sorted(first["have"]) == sorted(AREA_NAMES)
    assert first["drifted"] == [
        name for name in AREA_NAMES if name in {drift["area"] for drift in first["drift"]}
    ]
    assert "kernel" in first["drifted"]
    release = next(
        drift for drift in first["drift"] if (drift["area"], drift["item"]) == ("kernel", "release")
    )
    assert release["have"] == os.uname().release
    assert release["want"] == _lock()["kernel"]["release"]
    assert release["reboot"] is True
    assert first["reboot_required"] is True
    assert len(first["summary"]) == len(first["drift"])
    assert any(
        line.startswith(f"kernel.release: have {os.uname().release}, want ") for line in first["summary"]
    )

    (diff,) = first["diff"]
    assert yaml.safe_load(diff["before"])["kernel"]["release"] == os.uname().release
    assert yaml.safe_load(diff["after"])["kernel"]["release"] == _lock()["kernel"]["release"]
    assert "diff" not in runs[1]


def test_only_the_areas_asked_for_are_read(site: Site) -> None:
    state = site.state(areas=["kernel"])
    assert list(state["have"]) == ["kernel"]
    assert list(state["want"]) == ["kernel"]
    assert {drift["area"] for drift in state["drift"]} == {"kernel"}


def test_a_device_that_keeps_no_program_costs_two_commands_and_no_transfer(site: Site) -> None:
    task = {"edgewright.factory.device_state": {"lock": "{{ edgewright_release_dir }}/release.lock.yml"}}
    # Told the interpreter, as a site's inventory does; else Ansible asks the device for it once a run.
    run = site.play(task, "-vvv", "-e", f"ansible_python_interpreter={sys.executable}")
    assert run.rc == 0, run.output
    # The second carries the program on its standard input. With a kept one it is one: test_fleet.py.
    assert run.output.count("<reader-01> EXEC ") == 2
    assert run.output.count("<reader-01> PUT ") == 0


def test_a_variable_of_the_command_line_is_of_its_type(site: Site) -> None:
    state = site.state("-e", "kernel_isolation_parameters=false", areas=["kernel"])
    assert not state.get("failed"), state
    assert not any("nohz_full" in json.dumps(item) for item in state["want"].values())


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "no profile": (
        {"edgewright_profile": None},
        {},
        ["host {host} has no hardware profile: set edgewright_profile in host_vars/{host}/", "x86_vm"],
    ),
    "unknown profile": ({"edgewright_profile": "x86_wm"}, {}, ["host {host}", "did you mean x86_vm?"]),
    "unknown area": ({}, {"areas": ["kernal"]}, ["there is no area 'kernal'", "did you mean kernel?"]),
    "CPUs that the device lacks": (
        {"isolation_cpus": "2-7"},
        {},
        ["host {host}", "isolation_cpus", "2-7"],
    ),
    "no CPU for the system": ({"isolation_cpus": "0-3"}, {}, ["host {host}", "isolation_cpus", "0-3"]),
    "no lock": ({"edgewright_release_dir": "/nowhere"}, {}, ["/nowhere/release.lock.yml does not exist"]),
    "undefined": (
        {"edgewright_state_dir": None},
        {"areas": ["identity"]},
        ["cannot be computed", "edgewright_state_dir"],
    ),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, dict[str, Any]]]:
    """Answers of one play over one device for each case of `REFUSED`: case to device and result."""
    site = Site.make(tmp_path_factory.mktemp("refused") / "site")
    names = site.faulty(
        {case: {**changes, "my": arguments} for case, (changes, arguments, _) in REFUSED.items()}
    )
    lock = "{{ edgewright_release_dir }}/release.lock.yml"
    run = site.play(
        {"edgewright.factory.device_state": {"lock": lock, "areas": "{{ my.areas | default([]) }}"}}
    )
    assert set(run.results) == set(names.values()), run.output
    return {case: (name, run.results[name]) for case, name in names.items()}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_before_the_device_is_asked(
    refusals: dict[str, tuple[str, dict[str, Any]]], case: str
) -> None:
    host, state = refusals[case]
    assert state["failed"] is True
    assert "have" not in state
    for part in REFUSED[case][2]:
        assert part.format(host=host) in state["msg"]


def test_a_want_is_not_taken_from_a_task(site: Site) -> None:
    state = site.state(want={})
    assert state["failed"] is True
    assert "want" in state["msg"]


def test_a_good_inventory_is_valid(site: Site) -> None:
    run = site.validate("all")
    assert run.rc == 0, run.output
    assert run.results["reader-01"]["problems"] == []
    assert run.results["localhost"]["problems"] == []


def test_a_waiver_is_told_for_the_host_that_leans_on_it(site: Site) -> None:
    site.stack("2999-12-31")
    site.hosts("reader-01", "reader-02")
    (site.path / "inventory/host_vars/reader-02.yml").write_text("edgewright_profile: x86_t4\n")
    run = site.validate()
    assert run.results["reader-01"]["waivers"] == []
    assert run.results["reader-02"]["waivers"] == [
        "WAIVER: reader-02: NVIDIA's driver on PREEMPT_RT: Ada answers for it until 2999-12-31: the line"
    ]


def test_one_task_checks_all_hosts_and_names_those_with_faults(site: Site) -> None:
    site.stack("2999-12-31")
    site.hosts("reader-01", "reader-02", "reader-03")
    (site.path / "inventory/host_vars/reader-02.yml").write_text("edgewright_profile: x86_t4\n")
    (site.path / "inventory/host_vars/reader-03.yml").write_text("kernel_sysctls: {}\n")
    lock = "{{ edgewright_release_dir }}/release.lock.yml"
    run = site.play({"edgewright.factory.validate_fleet": {"lock": lock}, "run_once": True})
    assert run.rc == 0, run.output
    answer, each = run.results["reader-01"], site.validate().results
    assert answer["faulty"] == [name for name, found in each.items() if found["problems"]]
    assert answer["rows"] == {name: found["msg"] for name, found in each.items() if not found["problems"]}
    assert "reader-03" in answer["faulty"]
    assert "reader-01" in answer["rows"]
    assert [line.split(":")[1] for line in answer["waivers"]] == [" reader-02"]


def test_a_device_that_is_not_reached_by_ssh_is_left_to_its_own_task(site: Site) -> None:
    lock = "{{ edgewright_release_dir }}/release.lock.yml"
    run = site.play({"edgewright.factory.fleet_state": {"lock": lock}, "run_once": True})
    assert run.rc == 0, run.output
    answer = run.results["reader-01"]
    assert (answer["as_wanted"], answer["devices"], answer["lack_probe_only"]) == ([], {}, [])
    run = site.play({"edgewright.factory.device_state": {"lock": lock, "read_by": "nothing_such"}})
    assert run.results["reader-01"]["drifted"], run.output


def test_validating_opens_no_connection(site: Site) -> None:
    (site.path / "inventory/host_vars/reader-01.yml").write_text(
        "ansible_connection: ssh\nansible_host: 192.0.2.1\n", encoding="utf-8"
    )
    run = site.validate()
    assert run.rc == 0, run.output


def test_an_unknown_variable_is_named_with_its_place(site: Site) -> None:
    site.variables(kernel_sysctls={"a": 1}, edgewright_profil="x", my_own=1)
    run = site.validate()
    assert run.rc != 0
    answer = run.results["reader-01"]
    assert len(answer["problems"]) == 2
    message = answer["msg"]
    assert "kernel_sysctls is no variable of the role kernel; did you mean kernel_sysctl?" in message
    assert "See roles/kernel/README.md" in message
    assert "edgewright_profil is no site variable; did you mean edgewright_profile?" in message
    assert str(site.path / "inventory/group_vars/all.yml") in message


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no profile": ({"edgewright_profile": None}, ["host {host} has no hardware profile"]),
    "wrong type": ({"kernel_sysctl": "many"}, ['kernel_sysctl is "many"', "dict"]),
    "wrong bool": ({"kernel_isolation_parameters": "perhaps"}, ["kernel_isolation_parameters"]),
    "CPUs that the device lacks": ({"isolation_cpus": "2-7"}, ["isolation_cpus", "2-7"]),
    "no CPU for the system": ({"isolation_cpus": "0-3"}, ["isolation_cpus", "0-3"]),
    "required variable": (
        {"isolation_cpus": None},
        ["host {host}: isolation_cpus is not set, and the role isolation cannot do without it"],
    ),
    "twin with other CPUs": ({"edgewright_twin": {"kind": "vm", "cpus": 2}}, ["edgewright_twin.cpus is 2"]),
    "no lock": ({"edgewright_release_dir": "/nowhere"}, ["does not exist", "edgewright release lock"]),
    "a waiver that ended": (
        {"edgewright_profile": "x86_t4"},
        ["the waiver of Ada for NVIDIA's driver on PREEMPT_RT ended on 2026-01-31, today is", "the line"],
    ),
    "two at once": (
        {"isolation_cpus": "2-7", "kernel_sysctls": {}},
        ["2 faults in its variables; nothing was touched", "kernel_sysctls", "2-7"],
    ),
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, dict[str, Any]]]:
    """Answers of one play over one device for each case of `FAULTS`: case to device and result."""
    site = Site.make(tmp_path_factory.mktemp("faults") / "site")
    site.stack("2026-01-31")
    names = site.faulty({case: changes for case, (changes, _) in FAULTS.items()})
    run = site.validate()
    assert set(run.results) == set(names.values()), run.output
    return {case: (name, run.results[name]) for case, name in names.items()}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_of_the_inventory_is_told(faults: dict[str, tuple[str, dict[str, Any]]], case: str) -> None:
    host, answer = faults[case]
    assert answer["failed"] is True
    for part in FAULTS[case][1]:
        assert part.format(host=host) in answer["msg"]
