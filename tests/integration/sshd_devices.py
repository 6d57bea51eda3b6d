# SPDX-License-Identifier: Apache-2.0
"""Many small devices on this machine: plain sshd processes on loopback ports, each with a root of its own.

A device is an sshd in a mount and a PID namespace, on an overlay over this machine's files: what it writes
stays its own, its processes end with it, and no virtual machine is needed. It has no systemd and no kernel of
its own, so its profile is `x86_container` and it has no watch of its own (`drift_watch_period_s: 0`).

    with SshdFleet(tmp_path, count=20) as fleet:
        fleet.provision()                       # identity, depot and probe, as the roles would leave them
        run = fleet.play("playbooks/converge_devices.yml")

Used by the fleet's tests and by `benchmarks/fleet.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from edgewright.device import depot_client, drift_watch, identity
from edgewright.device.lock import load_lock
from edgewright.device.probe_program import probe_program

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
RELEASE = ROOT / "releases" / "label-reader"
TOOLS = ("sshd", "ssh-keygen", "unshare", "openssl", "mount")

_SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/ssh/device_host_key
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
AuthorizedKeysFile /etc/ssh/device_authorized_keys
Subsystem sftp internal-sftp
MaxStartups 100
PrintMotd no
"""

# An overlay on a small file system of its own, which holds what the device writes; then sshd as its first
# process.
_START = """\
set -eu
mount -t tmpfs -o size={size} none {base}/disk
mkdir {base}/disk/upper {base}/disk/work
mount -t overlay overlay -o lowerdir=/,upperdir={base}/disk/upper,workdir={base}/disk/work {base}/root
mount -t proc proc {base}/root/proc
mount --rbind /dev {base}/root/dev
mount -t tmpfs none {base}/root/run
mkdir -m 0755 {base}/root/run/sshd
mount -t tmpfs none {base}/root/root
cp {base}/host_key {base}/root/etc/ssh/device_host_key
chmod 0600 {base}/root/etc/ssh/device_host_key
cp {base}/authorized_keys {base}/root/etc/ssh/device_authorized_keys
chmod 0644 {base}/root/etc/ssh/device_authorized_keys
if [ -d {base}/files ]; then cp -a {base}/files/. {base}/root/; chown _apt {base}/root/{key}; fi
{more}
exec chroot {base}/root /usr/sbin/sshd -D -e -f /dev/stdin < {base}/sshd_config 2> {base}/log
"""


def missing_tools() -> list[str]:
    """Programs that such devices need and this machine lacks; or the reason why it cannot have them."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if os.geteuid() != 0:
        missing.append("root")
    return missing


@dataclass
class Device:
    """One device.

    Attributes:
        name: in the inventory.
        port: of its sshd, on loopback.
        base: its directory on this machine: keys, files, log.
        process: what holds its namespaces; ending it ends all of the device.
    """

    name: str
    port: int
    base: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, size: str = "64m", more: str = "") -> None:
        """Switch it on. `more`: shell commands before sshd starts, with `$root` as its root."""
        for part in ("disk", "root"):
            (self.base / part).mkdir(exist_ok=True)
        (self.base / "sshd_config").write_text(_SSHD.format(port=self.port))
        key = identity.DIRECTORY.lstrip("/") + "/device.key"
        script = _START.format(size=size, base=self.base, more=f"root={self.base}/root\n{more}", key=key)
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script],
            stdout=subprocess.DEVNULL,
            stderr=(self.base / "start.log").open("wb"),
            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
            start_new_session=True,
        )
        self._await()

    def _await(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            log = (self.base / "log").read_text() if (self.base / "log").exists() else ""
            if "Server listening" in log:
                return
            if self.process is None or self.process.poll() is not None:
                break
            time.sleep(0.05)
        said = "".join(
            (self.base / name).read_text() for name in ("start.log", "log") if (self.base / name).exists()
        )
        raise AssertionError(f"{self.name} did not start: {said}")

    def stop(self) -> None:
        """Cut its power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        (self.base / "log").unlink(missing_ok=True)

    def first_pid(self) -> int:
        """This machine's number of the device's first process, its sshd."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def run(self, script: str) -> str:
        """Run a shell script inside the device, not over ssh; returns its output."""
        return subprocess.run(
            [
                "nsenter",
                "--target",
                str(self.first_pid()),
                "--mount",
                "--pid",
                "--root",
                "/bin/sh",
                "-ec",
                script,
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def pause(self) -> None:
        """Stop it without closing a connection: the kernel still takes new ones, and nobody answers."""
        os.kill(self.first_pid(), signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.first_pid(), signal.SIGCONT)

    def cpu_s(self) -> float:
        """CPU seconds that the device has used since it was started, all its processes together."""
        ticks, waiting = 0, [self.first_pid()]
        while waiting:
            pid = waiting.pop()
            try:
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                continue  # it ended in between, and is counted by its parent
            ticks += sum(map(int, stat[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")


@dataclass
class Ran:
    """What an `ansible-playbook` did."""

    rc: int
    text: str

    def row(self, host: str) -> dict[str, int]:
        """The numbers of PLAY RECAP for a host."""
        line = next(line for line in self.text.splitlines() if line.startswith(f"{host} ") and "ok=" in line)
        return {key: int(value) for key, value in (word.split("=") for word in line.split() if "=" in word)}


@dataclass
class SshdFleet:
    """Devices `d01` and on, with an inventory and a site's state of their own.

    Attributes:
        directory: holds all of it.
        count: devices.
    """

    directory: Path
    count: int
    variables: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def __enter__(self) -> Self:
        self.inventory.mkdir(parents=True)
        self.state.mkdir()
        self._authority()
        self._depot()
        self._keygen(self.state / "ssh_key")
        for number, port in enumerate(_free_ports(self.count), 1):
            name = f"d{number:02}"
            base = self.directory / "devices" / name
            base.mkdir(parents=True)
            self._keygen(base / "host_key")
            shutil.copy(self.state / "ssh_key.pub", base / "authorized_keys")
            self.devices[name] = Device(name, port, base)
        self.write_inventory()
        self.write_known_hosts()
        return self

    def __exit__(self, *_: object) -> None:
        for device in self.devices.values():
            device.stop()
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connections that runs have kept."""
        for control in (self.directory / "cp").glob("*"):
            argv = ["ssh", "-o", f"ControlPath={control}", "-O", "exit", "none"]
            subprocess.run(argv, capture_output=True, check=False)

    def start(self) -> None:
        """Switch all devices on that are off."""
        for device in self.devices.values():
            if device.process is None:
                device.start()

    def write_inventory(self, **hosts: Mapping[str, Any]) -> None:
        """Write the inventory; `hosts`: variables of single devices."""
        shared = {
            "ansible_host": "127.0.0.1",
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.state / "ssh_key"),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.state}/known_hosts"
            " -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
            "ansible_python_interpreter": "/usr/bin/python3",
            "edgewright_state_dir": str(self.state),
            "edgewright_release_dir": str(RELEASE),
            "edgewright_profile": "x86_container",
            "isolation_cpus": "",
            "drift_watch_period_s": 0,
            **self.variables,
        }
        tree = {
            "controller": {"hosts": {}},
            "devices": {
                "hosts": {
                    name: {"ansible_port": device.port, **hosts.get(name, {})}
                    for name, device in self.devices.items()
                },
                "vars": shared,
            },
        }
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump(tree, sort_keys=False))

    def write_known_hosts(self) -> None:
        """Know every device's key."""
        lines = [
            f"[127.0.0.1]:{device.port} " + (device.base / "host_key.pub").read_text()
            for device in self.devices.values()
        ]
        (self.state / "known_hosts").write_text("".join(lines))

    def environment(self, **more: str) -> dict[str, str]:
        """Environment of a run: this checkout's configuration, and connections that are the fleet's own."""
        return {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.directory / "cp"),
            "ANSIBLE_SSH_RETRIES": "0",
            "ANSIBLE_NOCOLOR": "1",
            **more,
        }

    def play(self, playbook: str, *arguments: str, timeout_s: float = 300, **environment: str) -> Ran:
        """Run a playbook of the checkout over the devices."""
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", str(self.inventory), playbook, *arguments],
            cwd=ROOT,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Ran(done.returncode, done.stdout + done.stderr)

    def edgewright(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line over the fleet's inventory."""
        return subprocess.run(
            [str(BIN / "edgewright"), *arguments, "-i", str(self.inventory)],
            cwd=ROOT,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def wants(self, name: str) -> dict[str, dict[str, Any]]:
        """The wants of a device's areas that have any, computed as a run computes them."""
        lock = load_lock(RELEASE / "release.lock.yml")
        der = subprocess.run(
            ["openssl", "x509", "-in", self.state / "authority/root.crt", "-outform", "DER"],
            capture_output=True,
            check=True,
        ).stdout
        apt = self.state / "depot/apt"
        variables = {
            "identity_name": name,
            "identity_names": ["localhost", "127.0.0.1"],
            "identity_organisation": "Edgewright site",
            "identity_valid_days": 825,
            "identity_renew_days": 90,
            "depot_client_url": "https://10.0.2.100:8443",
            "depot_client_suite": "bookworm",
            "drift_watch_period_s": 0,
            "drift_watch_textfile_directory": "/var/lib/prometheus/node-exporter",
            "__identity_site_root_sha256": hashlib.sha256(der).hexdigest(),
            "__depot_client_archive_key_sha256": _sha256(apt / "edgewright-archive-key.asc"),
            "__depot_client_release_sha256": _sha256(apt / "dists/bookworm/InRelease"),
            **self.variables,
        }
        profile = {"name": "x86_container", "cpus": 2, "boot": "none"}
        areas = (identity, depot_client, drift_watch)
        return {area.AREA: area.want(variables, profile, lock) for area in areas}

    def provision(self) -> None:
        """Lay out what the roles would leave on each device, before it is switched on."""
        for name, device in self.devices.items():
            self._provision(name, device.base / "files")

    def _provision(self, name: str, root: Path) -> None:
        wants = self.wants(name)
        mine = root / identity.DIRECTORY.lstrip("/")
        depot = wants["depot_client"]
        for path, text in depot["files"].items():
            _write(root, path, text)
        _write(
            root, depot["depot"]["keyring"], (self.state / "depot/apt/edgewright-archive-key.asc").read_text()
        )
        _write(root, "/etc/apt/sources.list", "")
        for path in Path("/etc/apt/sources.list.d").glob("*"):
            _write(root, str(path), "")
        host = f"{depot['depot']['host']}:{depot['depot']['port']}"
        lists = f"/var/lib/apt/lists/{host}_apt_dists_bookworm_InRelease"
        _write(root, lists, (self.state / "depot/apt/dists/bookworm/InRelease").read_text())
        self._issue(name, mine)
        registry = root / depot["depot"]["registry"].lstrip("/")
        registry.mkdir(parents=True)
        for link, target in depot_client.REGISTRY_IDENTITY.items():
            (registry / link).symlink_to(f"{identity.DIRECTORY}/{target}")
        _write(root, "/var/lib/dpkg/status", _dpkg_status(wants["identity"]["packages"]))
        _write(root, wants["drift_watch"]["at"]["program"], probe_program().data.decode())

    def _keygen(self, path: Path) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)

    def _depot(self) -> None:
        """The two files of a depot that a device's state is compared with; nobody fetches anything here."""
        _write(self.state / "depot", "/apt/edgewright-archive-key.asc", "key of a depot that serves nobody\n")
        _write(self.state / "depot", "/apt/dists/bookworm/InRelease", "list of a depot that serves nobody\n")

    def _authority(self) -> None:
        where = self.state / "authority"
        where.mkdir()
        for name, issuer, length in (("root", None, 1), ("issuing", "root", 0)):
            _certificate(
                *(where / f"{name}.key", where / f"{name}.crt", f"/CN=Test {name}"),
                issuer=where / issuer if issuer else None,
                extensions=f"basicConstraints=critical,CA:TRUE,pathlen:{length}\nkeyUsage=critical,keyCertSign",
            )

    def _issue(self, name: str, directory: Path) -> None:
        directory.mkdir(parents=True)
        _certificate(
            *(directory / "device.key", directory / "leaf.crt"),
            f"/O=Edgewright site/OU=device/CN={name}",
            issuer=self.state / "authority/issuing",
            extensions=f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1\n"
            "extendedKeyUsage=serverAuth,clientAuth",
        )
        leaf = (directory / "leaf.crt").read_text() + (self.state / "authority/issuing.crt").read_text()
        (directory / "device.crt").write_text(leaf)
        (directory / "leaf.crt").unlink()
        (directory / "device.key").chmod(0o400)
        shutil.copy(self.state / "authority/root.crt", directory / "site-root.crt")


def _certificate(key: Path, certificate: Path, subject: str, issuer: Path | None, extensions: str) -> None:
    """A P-256 key and a certificate, signed by `issuer` (a path without .key and .crt) or by itself."""
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    signed_by = ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key"] if issuer else []
    if not issuer:
        added = [word for line in extensions.splitlines() for word in ("-addext", line)]
        argv = [
            "req",
            "-x509",
            *ec,
            "-keyout",
            key,
            "-out",
            certificate,
            "-subj",
            subject,
            "-days",
            "3000",
            *added,
        ]
        subprocess.run(["openssl", *argv], check=True, capture_output=True)
        return
    request, rules = key.with_suffix(".csr"), key.with_suffix(".ext")
    rules.write_text(extensions + "\n")
    subprocess.run(
        ["openssl", "req", "-new", *ec, "-keyout", key, "-out", request, "-subj", subject],
        check=True,
        capture_output=True,
    )
    subprocess.run(
        [
            "openssl",
            "x509",
            "-req",
            "-in",
            request,
            *signed_by,
            "-days",
            "800",
            "-extfile",
            rules,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    request.unlink()
    rules.unlink()


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            ports.append(int(taken.getsockname()[1]))
        return ports


def _dpkg_status(packages: Mapping[str, str]) -> str:
    """This machine's list of packages, with these versions of these."""
    stanzas = Path("/var/lib/dpkg/status").read_text().strip().split("\n\n")
    kept = [stanza for stanza in stanzas if stanza.split("\n")[0].removeprefix("Package: ") not in packages]
    kept += [
        f"Package: {name}\nStatus: install ok installed\nPriority: optional\nSection: misc\nInstalled-Size:"
        f" 1\nMaintainer: nobody <nobody@example.org>\nArchitecture: amd64\nVersion: {version}\nDescription:"
        f" {name}"
        for name, version in packages.items()
    ]
    return "\n\n".join(kept) + "\n"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(root: Path, path: str, text: str) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
