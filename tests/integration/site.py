# SPDX-License-Identifier: Apache-2.0
"""A site of its own for a test: the example inventory with other ports and another state directory.

So a test run never touches the twins, the depot or the authority that `make provision` made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from edgewright.twin import TwinSpec, VmTwin

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@dataclass
class Run:
    """What an `ansible-playbook` run printed, and its numbers per host."""

    returncode: int
    text: str
    seconds: float

    def recap(self, host: str) -> dict[str, int]:
        """The numbers of PLAY RECAP for a host: ok, changed, unreachable, failed, skipped."""
        found = re.search(rf"^{re.escape(host)}\s+:(.*)$", self.text, re.MULTILINE)
        assert found, f"no recap for {host} in:\n{self.text[-4000:]}"
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", found[1])}

    def tasks_of(self, host: str) -> list[str]:
        """Names of the tasks that gave a result on a host (skipped ones apart), in order."""
        names, current = [], ""
        for line in self.text.splitlines():
            if header := re.match(r"TASK \[(.*)\] \*+", line):
                current = header[1]
            elif re.match(rf"(ok|changed|fatal|failed): \[{re.escape(host)}\b", line):
                names.append(current)
        return names


@dataclass
class Site:
    """An inventory with one VM twin, and what a test does with it.

    Attributes:
        directory: holds the inventory, the state and the logs of the runs.
        device: name of the one device.
        ssh_port: forwarded port of the twin, on loopback.
        depot_port: port of this site's depot, on loopback.
        twin: kind of the twin.
        parallel: whether each of its emulated CPUs has a thread of its own.
        own: further variables of the device.
        release: what it shall hold: the directory with release and lock.

    As a context manager it is created at the start, and its twin and depot are stopped at the end.
    """

    directory: Path
    device: str
    ssh_port: int
    depot_port: int
    twin: str = "vm"
    parallel: bool = False
    own: dict[str, Any] = field(default_factory=dict)
    release: Path = ROOT / "releases" / "label-reader"
    runs: int = field(default=0)

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def create(self) -> Self:
        """Write the inventory: the example's, with this site's places and ports."""
        shutil.copytree(ROOT / "inventories" / "factory", self.inventory)
        shutil.rmtree(self.inventory / "host_vars")
        self.write(
            "hosts.yml",
            {"controller": {"hosts": {"localhost": None}}, "devices": {"hosts": {self.device: None}}},
        )
        self.write(
            "group_vars/all/edgewright.yml",
            {
                "edgewright_state_dir": str(self.state),
                "edgewright_release_dir": str(self.release),
            },
        )
        self.write(
            "group_vars/controller/zz_test_ports.yml", {"depot_listen": [f"127.0.0.1:{self.depot_port}"]}
        )
        self.write(
            f"host_vars/{self.device}/edgewright.yml",
            {
                "ansible_host": "127.0.0.1",
                "ansible_port": self.ssh_port,
                "edgewright_profile": "x86_vm",
                "edgewright_twin": {
                    "kind": self.twin,
                    "cpus": 4,
                    "memory_mib": 2048,
                    "depot_port": self.depot_port,
                    "parallel": self.parallel,
                },
                **self.own,
            },
        )
        self.take_in()
        return self

    @property
    def depot(self) -> Path:
        """The depot that this site serves."""
        return self.state / "depots" / "current"

    def take_in(self) -> None:
        """Build the release's bundle and take it in as the site's depot, as `make provision` does."""
        keys = {"EDGEWRIGHT_KEYS": str(self.state / "keys")}
        stick = str(self.directory / "stick")
        self.edgewright("bundle", "build", str(self.release), "-o", stick, "--no-installer", **keys)
        fingerprint = self.edgewright("keys", "fingerprint", keys["EDGEWRIGHT_KEYS"]).stdout.strip()
        self.edgewright(
            *("bundle", "install", stick, "--depots", str(self.depot.parent)),
            *("--trust", str(self.state / "trust"), "--fingerprint", fingerprint),
        )

    def write(self, name: str, content: dict[str, Any]) -> Path:
        """Write one file of the inventory as YAML."""
        path = self.inventory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("---\n" + yaml.safe_dump(content), encoding="utf-8")
        return path

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        }

    def edgewright(
        self, *arguments: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the `edgewright` command line, with some environment variables more."""
        done = subprocess.run(
            [str(BIN / "edgewright"), *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self.environment() | environment,
            check=False,
        )
        assert not check or done.returncode == 0, f"edgewright {arguments}: {done.stdout}\n{done.stderr}"
        return done

    def up(self) -> None:
        self.edgewright("twin", "up", "-i", str(self.inventory))

    def kill(self) -> None:
        """Power loss."""
        self.edgewright("twin", "down", "--kill", "-i", str(self.inventory))

    def start(self, *arguments: str, playbook: str = "site.yml") -> tuple[subprocess.Popen[bytes], Path]:
        """Start a playbook and return the process and its log."""
        self.runs += 1
        log = self.directory / f"run-{self.runs}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [str(BIN / "ansible-playbook"), playbook, "-i", str(self.inventory), *arguments],
                cwd=ROOT,
                env=self.environment(),
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process, log

    def play(self, *arguments: str, playbook: str = "site.yml", timeout_s: float = 2400) -> Run:
        """Run a playbook to its end."""
        begun = time.monotonic()
        process, log = self.start(*arguments, playbook=playbook)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"no end within {timeout_s} s:\n{log.read_text()[-6000:]}") from None
        return Run(code, log.read_text(encoding="utf-8", errors="replace"), time.monotonic() - begun)

    def ssh(self, command: str, check: bool = True) -> str:
        """Run a shell command on the device as root; returns its standard output."""
        done = subprocess.run(
            [
                *("ssh", "-p", str(self.ssh_port), "-i", str(self.state / "ssh" / "id_ed25519")),
                *("-o", f"UserKnownHostsFile={self.state}/known_hosts", "-o", "StrictHostKeyChecking=yes"),
                *("-o", "BatchMode=yes", "-o", "ConnectTimeout=60", "root@127.0.0.1", command),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout.strip()

    def boot_id(self) -> str:
        return self.ssh("cat /proc/sys/kernel/random/boot_id")

    def boots(self) -> int:
        """How many times a kernel started on this twin, by its serial console."""
        return VmTwin(TwinSpec(self.device, self.twin, self.state, self.ssh_port)).boots()

    def records(self) -> list[dict[str, Any]]:
        """The device's records, oldest first."""
        return [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((self.state / "records" / self.device).glob("*.json"))
        ]

    def __enter__(self) -> Self:
        return self.create()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the twin and the depot; the directory with the logs stays."""
        self.edgewright("twin", "down", "--kill", "-i", str(self.inventory), check=False)
        self.edgewright("depot", "down", "--state", str(self.state / "depot-service"), check=False)
