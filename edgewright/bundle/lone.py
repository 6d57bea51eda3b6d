# SPDX-License-Identifier: Apache-2.0
"""After a bundle is here: packages for the controller itself, what to do next, and lone devices.

A lone device is its own controller. It gets an inventory below /etc/edgewright/site: the machine is both
`localhost`, the controller, and, under its own name, the one device, over `ansible_connection: local`. Files
that are there are left alone: they are the person's. Then the ordinary site.yml runs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgewright.bundle.controller import Places
from edgewright.depot.manifest import ARCHIVE_KEY
from edgewright.depot.progress import say
from edgewright.device.lock import for_target
from edgewright.device.profile import SCHEMA, carried_profiles, known_profiles, load_profile
from edgewright.errors import EdgewrightError, InputError, MissingToolError
from edgewright.paths import collection_root, programs
from edgewright.release.documents import load_lock

__all__ = [
    "Machine",
    "detect",
    "install_packages",
    "next_steps",
    "provision_self",
    "site_files",
]

DETECTED = "this_machine"
"""Name of the profile that detection writes."""

HOSTS = "hosts.yml"

_DEPOT = "127.0.0.1:9443"
"""Where a lone device's depot listens: the model is served at 8443."""

_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
_NVIDIA_VENDOR = "0x10de"
_DISPLAY_CLASS = "0x03"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", re.ASCII)
_TAKEN = frozenset(("all", "controller", "devices", "localhost", "ungrouped"))
"""Names that mean something else in the inventory."""

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z", re.ASCII)


@dataclass(frozen=True)
class Machine:
    """What a machine is, as far as it can tell: the content of a profile."""

    name: str
    arch: str
    cpus: int
    memory_mib: int
    boot: str
    gpu: str

    def profile(self) -> dict[str, Any]:
        """As a profile's file says it."""
        return {
            "schema": SCHEMA,
            "description": f"{self.name}, as it was detected",
            "arch": self.arch,
            "cpus": self.cpus,
            "memory_mib": self.memory_mib,
            "boot": self.boot,
            "gpu": self.gpu,
            "power_modes": [],
        }


def detect(root: Path = Path("/")) -> Machine:
    """Look at this machine.

    Args:
        root: Its file system.

    Raises:
        InputError: It is of a kind that no profile can describe.
    """
    machine = os.uname().machine
    if machine not in _ARCHES:
        raise InputError(
            f"detecting this machine: it is {machine}, expected {' or '.join(_ARCHES)}; no release is for it"
        )
    found = re.search(r"^MemTotal:\s+([0-9]+) kB", (root / "proc/meminfo").read_text("ascii"), re.MULTILINE)
    if found is None:
        raise InputError(f"detecting this machine: {root / 'proc/meminfo'} tells no MemTotal; name --profile")
    name = socket.gethostname().partition(".")[0].lower()
    if not _NAME.match(name) or name in _TAKEN:
        raise InputError(
            f"naming this device: its host name is {name!r}; give it one of its own, of small letters, "
            "digits and dashes (`hostnamectl hostname reader-01`): its certificate will name it"
        )
    return Machine(
        name, _ARCHES[machine], os.cpu_count() or 1, int(found[1]) // 1024, _boot(root), _gpu(root)
    )


def _boot(root: Path) -> str:
    """What chooses the kernel; a container has none of its own."""
    if (root / "run/systemd/container").exists() or (root / "run/.containerenv").exists():
        return "none"
    for path, told in (("boot/extlinux/extlinux.conf", "extlinux"), ("boot/grub/grub.cfg", "grub")):
        if (root / path).exists():
            return told
    return "none"


def _gpu(root: Path) -> str:
    compatible = root / "proc/device-tree/compatible"
    if compatible.exists() and b"nvidia,tegra" in compatible.read_bytes():
        return "tegra"
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA_VENDOR and kind.startswith(_DISPLAY_CLASS):
            return "nvidia"
    return "none"


def site_files(places: Places, machine: Machine, profile: str, cpus: int, suite: str) -> dict[str, Any]:
    """A lone device's inventory: content by file name.

    Args:
        places: The controller's.
        machine: What it is.
        profile: The name of its profile.
        cpus: How many CPUs the profile has: the upper half, at most all but one, is set apart for the model.
        suite: The release's.
    """
    state, depot = str(places.state), str(places.depot)
    systemd = Path("/run/systemd/system").is_dir()
    first = max(1, cpus // 2)
    files: dict[str, Any] = {
        HOSTS: {
            "controller": {"hosts": {"localhost": None}},
            "devices": {"hosts": {machine.name: None}},
        },
        "group_vars/all/edgewright.yml": {
            "edgewright_state_dir": state,
            "edgewright_release_dir": str(places.release),
        },
        "group_vars/controller/connection.yml": {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        },
        "group_vars/controller/depot.yml": {
            "depot_dir": depot,
            "depot_from_bundle": True,
            "depot_listen": [_DEPOT],
            "depot_supervisor": "systemd" if systemd else "child_process",
        },
        "group_vars/devices/connection.yml": {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
        },
        "group_vars/devices/depot.yml": {
            "depot_client_url": f"https://{_DEPOT}",
            "depot_client_suite": suite,
            "depot_client_depot_dir": depot,
            "identity_depot_dir": depot,
        },
        "group_vars/devices/acceptance.yml": {
            "acceptance_intent": {"latency_p99_ms": 50, "wakeup_worst_us": 100}
        },
        f"host_vars/{machine.name}/edgewright.yml": {"edgewright_profile": profile},
    }
    if cpus > 1:
        last = f"-{cpus - 1}" if cpus - 1 > first else ""
        files["group_vars/devices/isolation.yml"] = {"isolation_cpus": f"{first}{last}"}
    if profile == DETECTED:
        files[f"profiles/{DETECTED}.yml"] = machine.profile()
    return files


def provision_self(places: Places, site: Path, profile: str | None) -> int:
    """Run site.yml of the installed collection against this machine.

    Args:
        places: The controller's; a bundle was taken in.
        site: The inventory's directory; what is missing of it is written.
        profile: The hardware profile; as detected when not given.

    Returns:
        ansible-playbook's exit code.

    Raises:
        InputError: No bundle is here, root is not at work, or the machine cannot be described.
    """
    if os.geteuid() != 0:
        raise InputError("provisioning this machine: root must do it; run the same with sudo or as root")
    lock = _for_this_machine(load_lock(_release(places))[0])
    machine = detect()
    directories = [site / "profiles", carried_profiles()]
    name = profile or _same(machine, directories)
    cpus = machine.cpus if name == DETECTED else load_profile(name, directories).cpus
    written = _write(site, site_files(places, machine, name, cpus, str(lock["os"]["suite"])))
    command = playbook_command(site / HOSTS)  # the file: profiles/ beside it are no inventory
    say(
        f"provisioning this machine, {machine.name}, as its own controller and device:\n"
        f"  release      {lock['release']['name']} {lock['release']['version']}\n"
        f"  profile      {name} ({machine.arch}, {machine.cpus} CPUs, {machine.memory_mib} MiB, boot "
        f"{machine.boot}, GPU {machine.gpu})\n"
        f"  inventory    {site}: {f'{len(written)} files written' if written else 'as it was'}\n"
        "  it makes the site's authority, serves the depot on this machine's loopback only, makes the depot\n"
        "  the only source of packages, installs kernel, runtime and model, and measures the model against\n"
        f"  {site}/group_vars/devices/acceptance.yml: say there what it must reach\n"
        f"  {shlex.join(command)}"
    )
    code = subprocess.run(command, check=False, cwd="/").returncode
    if code != 0:
        say(
            "provisioning this machine ended early; when the reason above is mended (or the machine "
            f"rebooted, where it asks for that), go on with\n  {_program()} controller provision-self "
            f"--state {places.state} --site {site}"
        )
    return code


def playbook_command(inventory: Path) -> list[str]:
    """The words that run the installed site.yml on an inventory."""
    return [str(programs() / "ansible-playbook"), "-i", str(inventory), str(collection_root() / "site.yml")]


def next_steps(places: Places, site: Path) -> str:
    """What a person does after installing."""
    release = _release(places)
    lock, _ = load_lock(release)
    return (
        f"{lock['release']['name']} {lock['release']['version']} is on this controller. Next:\n"
        "  1. write an inventory; in group_vars/all/edgewright.yml:\n"
        f"       edgewright_state_dir: {places.state}\n"
        f"       edgewright_release_dir: {places.release}\n"
        f"       depot_dir: {places.depot}\n"
        '       depot_client_depot_dir: "{{ depot_dir }}"\n'
        '       identity_depot_dir: "{{ depot_dir }}"\n'
        "     and in group_vars/controller/depot.yml, with this machine's address towards the devices:\n"
        "       depot_from_bundle: true\n"
        "       depot_supervisor: systemd\n"
        "       depot_listen: [ADDRESS:8443]\n"
        f"  2. {shlex.join(playbook_command(Path('INVENTORY')))}\n"
        "This machine as a lone device, controller and device in one:\n"
        f"  {_program()} controller provision-self --state {places.state} --site {site}\n"
        "The next bundle, verified by what is here before anything of it runs:\n"
        f"  {_program()} controller install STICK --state {places.state}\n"
    )


def install_packages(places: Places, names: Sequence[str]) -> bool:
    """Install Debian packages from the depot's files, by apt and its signature check, with no other source.

    Args:
        places: The controller's; a bundle was taken in.
        names: The packages.

    Returns:
        Whether anything was installed.

    Raises:
        InputError: No bundle is here, or its depot has no such package for this machine.
        MissingToolError: This is no Debian.
    """
    wrong = next((name for name in names if not _PACKAGE.match(name)), None)
    if wrong is not None:
        raise InputError(f"installing packages: {wrong!r} is no package's name")
    whole, _ = load_lock(_release(places))
    if shutil.which("apt-get") is None:
        raise MissingToolError("installing packages: apt-get is not here; a controller is a Debian machine")
    missing = [name for name in names if not _installed(name)]
    if not missing:
        return False
    lock = _for_this_machine(whole)
    carried = {str(deb["name"]) for deb in lock["apt"]["packages"]}
    lacking = [name for name in missing if name not in carried]
    if lacking:
        raise InputError(
            f"installing {', '.join(missing)} from {places.depot}: release {lock['release']['name']} does "
            f"not carry {', '.join(lacking)}; add it to apt.packages of release.yml, or install it from "
            "Debian's own media"
        )
    room = places.state / "apt"
    for directory in ("lists/partial", "archives/partial"):
        (room / directory).mkdir(parents=True, exist_ok=True)
    (room / "depot.sources").write_text(
        f"Types: deb\nURIs: file:{places.depot / 'apt'}\nSuites: {lock['os']['suite']}\nComponents: main\n"
        f"Signed-By: {places.depot / ARCHIVE_KEY}\nCheck-Valid-Until: no\n"  # the bundle's end was checked
    )
    options = {
        "Dir::Etc::SourceList": room / "depot.sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": room / "lists",
        "Dir::Cache::Archives": room / "archives",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Dpkg::Options::": "--force-confold",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    _apt([*words, "update"], "reading the depot's list of packages")
    _apt(
        [*words, "install", "--yes", "--no-install-recommends", *missing], f"installing {', '.join(missing)}"
    )
    return True


def _for_this_machine(lock: Mapping[str, Any]) -> Mapping[str, Any]:
    """A lock as the target sees it that this machine is."""
    machine = os.uname().machine
    arch = _ARCHES.get(machine, machine)
    told = Path("/etc/os-release")
    text = told.read_text("utf-8") if told.is_file() else ""
    suite = re.search(r"^VERSION_CODENAME=\"?([a-z0-9-]+)", text, re.MULTILINE)
    found = for_target(lock, arch, suite[1] if suite else None)
    if found["os"]["arch"] != arch:
        raise InputError(
            f"using release {lock['release']['name']} on this machine: it is {arch}, the release has "
            f"packages for {found['os']['arch']} only; add a target for {arch} to release.yml, or use "
            "another machine"
        )
    return found


def _apt(words: Sequence[str], doing: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["apt-get", "-q", *words], check=False, capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        told = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise EdgewrightError(f"{doing}: apt-get ended with status {done.returncode}:\n  {told}")


def _installed(name: str) -> bool:
    asked = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name]
    done = subprocess.run(asked, check=False, capture_output=True, text=True)
    return done.returncode == 0 and done.stdout == "installed"


def _release(places: Places) -> Path:
    if not places.release.is_dir():
        raise InputError(
            f"reading the release that is here: {places.release} does not exist, so no bundle was taken in; "
            "run `install` of a stick first"
        )
    return places.release


def _same(machine: Machine, directories: Sequence[Path]) -> str:
    """A carried profile that says exactly what was detected; else that of the detection itself."""
    wanted = (machine.arch, machine.cpus, machine.boot, machine.gpu)
    for name in known_profiles(directories):
        told = load_profile(name, directories)
        near = abs(told.memory_mib - machine.memory_mib) <= told.memory_mib // 10
        if near and (told.arch, told.cpus, told.boot, told.gpu) == wanted:
            return name
    return DETECTED


def _write(site: Path, files: Mapping[str, Any]) -> list[str]:
    """Write what is missing; hosts.yml last, so that a half-written inventory names no host."""
    written = []
    for name, content in sorted(files.items(), key=lambda item: (item[0] == HOSTS, item[0])):
        path = site / name
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text("---\n" + yaml.safe_dump(content, sort_keys=False), "utf-8")
        new.replace(path)
        written.append(name)
    return written


def _program() -> str:
    return str(programs() / "edgewright")
