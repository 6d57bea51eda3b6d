# SPDX-License-Identifier: Apache-2.0
"""What a twin shall be: name, kind, size, and where its ssh and its depot are.

A `TwinSpec` is a value: `TwinSpec.from_hostvars` makes one from an inventory host's variables, and a
test makes one directly. Where a twin's files lie follows from it.

    spec = TwinSpec(name="edge-01", kind="vm", state_dir=Path("/tmp/site"), port=2201)
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import InputError
from edgewright.twin.recipe import SUITES

__all__ = [
    "CONTAINER_GATEWAY",
    "CONTAINER_SUBNET",
    "DEFAULT_DEPOT_PORT",
    "VM_DEPOT_HOST",
    "VM_DEPOT_PORT",
    "TwinSpec",
]

VM_DEPOT_HOST = "10.0.2.100"
"""The one address that a VM twin reaches; QEMU forwards its port 8443 to the depot."""

VM_DEPOT_PORT = 8443
DEFAULT_DEPOT_PORT = 8443
CONTAINER_SUBNET = ipaddress.IPv4Network("10.213.0.0/24")
CONTAINER_GATEWAY = ipaddress.IPv4Address("10.213.0.1")
"""The host's address on the containers' bridge: where a container twin finds the depot."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KINDS = ("vm", "container", "snapd")
_ARCHES = ("amd64", "arm64")
_IMAGES = ("debian",)
_TWIN_KEYS = (
    "kind",
    "cpus",
    "memory_mib",
    "depot_port",
    "image",
    "arch",
    "suite",
    "capture",
    "stick",
    "parallel",
)


def _whole(value: object, what: str, name: str, low: int, high: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(
            f"reading twin {name}: {what} must be a whole number from {low} to {high}, got {value!r}; "
            f"correct it in the inventory"
        )
    return value


@dataclass(frozen=True)
class TwinSpec:
    """One twin, checked.

    Args:
        name: host name of the device, and of its directory.
        kind: `vm` (QEMU, own kernel), `snapd` (a VM whose system is snapd's) or `container` (podman, the
            host's kernel).
        state_dir: the site's state directory (`edgewright_state_dir`), absolute.
        port: ssh's port: for a VM a free one on 127.0.0.1, for a container 22.
        address: where ssh is reached: 127.0.0.1 for a VM, an address of `CONTAINER_SUBNET` for a container.
        cpus: how many CPUs the device has (a VM's virtual CPUs; a container sees the host's).
        memory_mib: memory in MiB.
        depot_port: the depot's port on the host's loopback; a VM reaches it as 10.0.2.100:8443.
        image: which image it starts from; `debian` is the only one.
        arch: `amd64`, or `arm64` (VM only, always emulated).
        suite: Debian's release that it starts with: `bookworm`, or `trixie` (VM of amd64 only).
        capture: whether QEMU writes the head of every packet of its network card to `net.pcap` (VM only).
        stick: a disk image that is plugged in, read only, as its second disk (VM only).
        parallel: whether each emulated CPU has a thread of this host's, even where the host has fewer CPUs
            (VM only): slower, for measuring what the CPUs do side by side.

    Raises:
        InputError: a field is not what it must be; the message names field and value.
    """

    name: str
    kind: str
    state_dir: Path
    port: int
    address: str = "127.0.0.1"
    cpus: int = 4
    memory_mib: int = 2048
    depot_port: int = DEFAULT_DEPOT_PORT
    image: str = "debian"
    arch: str = "amd64"
    suite: str = SUITES[0]
    capture: bool = False
    stick: Path | None = None
    parallel: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be started, before anything is made."""
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"reading twin {self.name!r}: a twin's name becomes its host name, so it takes lower-case "
                f"letters, digits and inner hyphens, 63 characters at most; rename the host in the inventory"
            )
        for what, value, allowed in (
            ("edgewright_twin.kind", self.kind, _KINDS),
            ("edgewright_twin.image", self.image, _IMAGES),
            ("edgewright_twin.arch", self.arch, _ARCHES),
            ("edgewright_twin.suite", self.suite, SUITES),
        ):
            if value not in allowed:
                raise InputError(
                    f"reading twin {self.name}: {what} must be one of {', '.join(allowed)}, got {value!r}; "
                    f"correct it in the inventory"
                )
        if not self.state_dir.is_absolute():
            raise InputError(
                f"reading twin {self.name}: edgewright_state_dir must be an absolute path, got "
                f"{str(self.state_dir)!r}; correct it in the inventory"
            )
        _whole(self.port, "ansible_port", self.name, 1, 65535)
        _whole(self.cpus, "edgewright_twin.cpus", self.name, 1, 64)
        _whole(self.memory_mib, "edgewright_twin.memory_mib", self.name, 512, 1 << 20)
        _whole(self.depot_port, "edgewright_twin.depot_port", self.name, 1, 65535)
        for what, switch in (("capture", self.capture), ("parallel", self.parallel)):
            if not isinstance(switch, bool):
                raise InputError(
                    f"reading twin {self.name}: edgewright_twin.{what} must be true or false, got "
                    f"{switch!r}; correct it in the inventory"
                )
        if self.stick is not None and not self.stick.is_absolute():
            raise InputError(
                f"reading twin {self.name}: edgewright_twin.stick must be the absolute path of a disk image, "
                f"got {str(self.stick)!r}; correct it in the inventory"
            )
        if self.suite != SUITES[0] and (self.kind, self.arch) != ("vm", "amd64"):
            raise InputError(
                f"reading twin {self.name}: suite {self.suite} is for VM twins of amd64, and it is a "
                f"{self.kind} of {self.arch}; leave suite out, which means {SUITES[0]}"
            )
        if self.kind == "container" and (self.capture or self.stick or self.parallel):
            raise InputError(
                f"reading twin {self.name}: capture, stick and parallel are for VM twins, and it is a "
                f"container; leave them out, or use kind: vm"
            )
        if self.kind == "snapd" and self.arch != "amd64":
            raise InputError(
                f"reading twin {self.name}: arch of kind snapd must be amd64, got {self.arch!r}; use vm "
                "for another one"
            )
        if self.kind == "container":
            self._check_container()
        elif self.address not in ("127.0.0.1", "localhost"):
            raise InputError(
                f"reading twin {self.name}: a VM twin's ssh is forwarded to this host's loopback, so "
                f"ansible_host must be 127.0.0.1, got {self.address!r}; correct it in the inventory"
            )

    def _check_container(self) -> None:
        if self.arch != "amd64":
            raise InputError(
                f"reading twin {self.name}: a container shares the host's kernel and CPU, so arch must be "
                f"amd64, got {self.arch!r}; use kind: vm for another architecture"
            )
        try:
            inside = ipaddress.IPv4Address(self.address) in CONTAINER_SUBNET
        except ValueError:
            inside = False
        reserved = (str(CONTAINER_GATEWAY), str(CONTAINER_SUBNET[0]), str(CONTAINER_SUBNET[-1]))
        if not inside or self.address in reserved:
            raise InputError(
                f"reading twin {self.name}: a container twin's ansible_host must be an address of "
                f"{CONTAINER_SUBNET} other than {', '.join(reserved)}, got {self.address!r}; "
                f"choose a free one, such as {CONTAINER_SUBNET[11]}"
            )
        if self.port != 22:
            raise InputError(
                f"reading twin {self.name}: a container twin is reached at its own address on port 22, got "
                f"ansible_port {self.port}; leave ansible_port out"
            )

    @classmethod
    def from_hostvars(cls, name: str, hostvars: Mapping[str, Any]) -> TwinSpec:
        """Make a spec from the variables of an inventory host that has `edgewright_twin`.

        Args:
            name: the host's name in the inventory.
            hostvars: its variables, templates already resolved.

        Raises:
            InputError: a variable is missing, unknown or wrong.
        """
        twin = hostvars.get("edgewright_twin")
        if not isinstance(twin, Mapping):
            raise InputError(
                f"reading twin {name}: edgewright_twin must be a dictionary such as "
                f"{{kind: vm, cpus: 4, memory_mib: 2048}}, got {twin!r}; correct it in the inventory"
            )
        unknown = sorted(set(map(str, twin)) - set(_TWIN_KEYS))
        if unknown:
            raise InputError(
                f"reading twin {name}: edgewright_twin has unknown keys {', '.join(unknown)}; "
                f"it takes {', '.join(_TWIN_KEYS)}"
            )
        state = hostvars.get("edgewright_state_dir")
        if not isinstance(state, str) or not state:
            raise InputError(
                f"reading twin {name}: edgewright_state_dir must be set for the host (got {state!r}); "
                f"set it in group_vars/all"
            )
        kind = twin.get("kind")
        port = hostvars.get("ansible_port", 22 if kind == "container" else None)
        if port is None:
            raise InputError(
                f"reading twin {name}: a VM twin needs ansible_port, a free port of this host's loopback to "
                f"which its ssh is forwarded; set it in host_vars/{name}.yml, such as ansible_port: 2201"
            )
        return cls(
            name=name,
            kind=str(kind),
            state_dir=Path(state).expanduser(),
            port=_whole(port, "ansible_port", name, 1, 65535),
            address=str(hostvars.get("ansible_host", "" if kind == "container" else "127.0.0.1")),
            cpus=_whole(twin.get("cpus", 4), "edgewright_twin.cpus", name, 1, 64),
            memory_mib=_whole(twin.get("memory_mib", 2048), "edgewright_twin.memory_mib", name, 512, 1 << 20),
            depot_port=_whole(
                twin.get("depot_port", DEFAULT_DEPOT_PORT), "edgewright_twin.depot_port", name, 1, 65535
            ),
            image=str(twin.get("image", "debian")),
            arch=str(twin.get("arch", "amd64")),
            suite=str(twin.get("suite", SUITES[0])),
            capture=twin.get("capture", False),
            stick=Path(str(twin["stick"])) if twin.get("stick") else None,
            parallel=twin.get("parallel", False),
        )

    @property
    def directory(self) -> Path:
        """Where the twin's own files lie: disk, keys, serial log, sockets."""
        return self.state_dir / "twins" / self.name

    @property
    def capture_file(self) -> Path:
        """Where the heads of its packets are written, where `capture` says so."""
        return self.directory / "net.pcap"

    @property
    def private_key(self) -> Path:
        """The controller's private ssh key, the same for every twin of a site."""
        return self.state_dir / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The site's known_hosts, which names each twin's host key before its first boot."""
        return self.state_dir / "known_hosts"

    @property
    def depot_host(self) -> str:
        """The address at which the twin itself finds the depot."""
        return VM_DEPOT_HOST if self.kind != "container" else str(CONTAINER_GATEWAY)

    @property
    def depot_address(self) -> tuple[str, int]:
        """The depot as the twin reaches it: (address, port)."""
        return self.depot_host, VM_DEPOT_PORT if self.kind != "container" else self.depot_port
