# SPDX-License-Identifier: Apache-2.0
"""A container twin: Debian with systemd and sshd under podman, up in seconds, for fast role tests.

It shares the host's kernel, so it has no boot loader, no kernel of its own and no cgroup v2 cpuset:
roles that touch those need the VM. Its network is podman's internal one, named `edgewright`; the
host's end of the bridge, 10.213.0.1, is where it finds the depot. There is no route to anywhere else.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import tarfile
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from edgewright.errors import EdgewrightError
from edgewright.paths import cache_dir
from edgewright.twin.abandoned import Holder, owner
from edgewright.twin.disk import DeviceFile, device_files
from edgewright.twin.image import make_tree
from edgewright.twin.keys import forget_host_key, locked
from edgewright.twin.machine import Twin
from edgewright.twin.qemu import vm_uuid
from edgewright.twin.recipe import container_recipe
from edgewright.twin.spec import CONTAINER_GATEWAY, CONTAINER_SUBNET, TwinSpec
from edgewright.twin.tools import Say, as_root, need, run_quiet

__all__ = [
    "NETWORK",
    "ContainerTwin",
    "container_image",
    "create_command",
    "image_tag",
    "limits",
    "podman_command",
]

NETWORK = "edgewright"


def podman_command(*words: str) -> list[str]:
    """A podman command, as root: a user's own podman has no bridge that the host reaches."""
    # crun refuses the hybrid cgroup layout.
    return as_root(["podman", "--runtime", "runc", *words], f"running podman {words[0]}")


def image_tag() -> str:
    """The container image's name, with its recipe's digest as tag."""
    return f"localhost/edgewright-twin:{container_recipe().digest[:12]}"


def limits(nofile_hard: int, nproc_hard: int) -> list[str]:
    """podman's `--ulimit` options: never above the host's own, which takes a capability it may lack.

    Args:
        nofile_hard: the host's hard limit of open files; `resource.RLIM_INFINITY` for none.
        nproc_hard: the host's hard limit of processes; likewise.
    """
    options = []
    for name, hard, most in (("nofile", nofile_hard, 65536), ("nproc", nproc_hard, 32768)):
        value = most if hard == resource.RLIM_INFINITY else min(hard, most)
        options += ["--ulimit", f"{name}={value}:{value}"]
    return options


def create_command(spec: TwinSpec, name: str, ulimits: list[str]) -> list[str]:
    """podman's words that create, and do not start, a twin's container.

    Args:
        spec: the twin.
        name: the container's name.
        ulimits: as `limits` makes them.
    """
    return [
        *("create", "--name", name, "--hostname", spec.name, "--systemd=always"),
        *("--network", NETWORK, "--ip", spec.address, "--no-hosts", "--memory", f"{spec.memory_mib}m"),
        *("--label", f"edgewright.state={spec.state_dir}", "--label", f"edgewright.owner={owner()}"),
        *ulimits,
        *(image_tag(), "/sbin/init"),
    ]


class ContainerTwin(Twin):
    """A container that stands in for a device; its spec's kind is `container`."""

    needs = ("podman", "runc", "ssh")
    start_s = 120.0
    stop_s = 20.0

    @property
    def container(self) -> str:
        """The container's name: the twin's, and eight digits of its place, so that sites do not collide."""
        return f"edgewright-{self.spec.name}-{vm_uuid(self.spec)[:8]}"

    def _inspect(self) -> dict[str, Any] | None:
        """podman's own record of the container, or None when there is none."""
        need("podman", "runc")
        done = subprocess.run(
            podman_command("container", "inspect", self.container),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            if "no such container" in done.stderr.lower():
                return None
            raise EdgewrightError(f"looking at twin {self.spec.name}: podman failed: {done.stderr.strip()}")
        record: dict[str, Any] = json.loads(done.stdout)[0]
        return record

    def is_up(self) -> bool:
        """Whether its container runs."""
        record = self._inspect()
        return record is not None and bool(record["State"]["Running"])

    def accelerator(self) -> str | None:
        """`host` while it runs, else None: its programs run on the host's CPU and kernel."""
        return "host" if self.is_up() else None

    def _start(self) -> None:
        doing = f"starting twin {self.spec.name}"
        self._free_address(doing)
        if self._inspect() is None:
            container_image(self._say)
            _network()
            hard = [resource.getrlimit(what)[1] for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)]
            run_quiet(podman_command(*create_command(self.spec, self.container, limits(*hard))), doing)
            self._lay_down_files(doing)
        run_quiet(podman_command("start", self.container), doing)

    def _free_address(self, doing: str) -> None:
        """End a twin of another checkout that has this one's address, where nobody can want it any more.

        Raises:
            EdgewrightError: somebody may want it; names it.
        """
        listed = run_quiet(
            podman_command("ps", "--filter", f"network={NETWORK}", "--format", "{{.Names}}"), doing
        ).split()
        for name in listed:
            done = subprocess.run(
                podman_command("container", "inspect", name), capture_output=True, text=True, check=False
            )
            if name == self.container or done.returncode != 0:  # the latter: it ended meanwhile
                continue
            record = json.loads(done.stdout)[0]
            networks, labels = record["NetworkSettings"]["Networks"], record["Config"]["Labels"] or {}
            if networks.get(NETWORK, {}).get("IPAddress") != self.spec.address:
                continue
            place = Path(labels.get("edgewright.state", "/nonexistent"))
            holder = Holder(
                f"container {name}", place, labels.get("edgewright.owner", ""), f"podman rm -f {name}"
            )
            why = holder.abandoned()
            if not why:
                raise holder.refusal(doing, f"address {self.spec.address}")
            self._say(f"{self.spec.name}: ending {holder.name}, which holds {self.spec.address}: {why}")
            run_quiet(podman_command("rm", "-f", "-t", "0", name), doing)

    def _lay_down_files(self, doing: str) -> None:
        """Put the device's own files into the container before its first start."""
        files = device_files(self.spec, uuid.uuid4().hex)
        packed = _tar({path: files[path] for path in files if path != "/etc/hostname"})  # podman's own mount
        done = subprocess.run(
            podman_command("cp", "-", f"{self.container}:/"), input=packed, capture_output=True, check=False
        )
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()
            run_quiet(podman_command("rm", "-f", self.container), doing)
            raise EdgewrightError(f"{doing}: podman did not take its files: {said}")

    def _phase(self) -> str:
        return "systemd starting"

    def _last_words(self) -> str:
        done = subprocess.run(
            podman_command("logs", "--tail", "20", self.container),
            capture_output=True,
            text=True,
            check=False,
        )
        return f"its console:\n{(done.stdout + done.stderr).strip()}"

    def _stop(self, timeout_s: float) -> None:
        """systemd shuts down; after the time podman kills."""
        run_quiet(
            podman_command("stop", "-t", f"{timeout_s:.0f}", self.container),
            f"stopping twin {self.spec.name}",
        )

    def _cut(self) -> str:
        doing = f"cutting the power of twin {self.spec.name}"
        run_quiet(podman_command("kill", "-s", "KILL", self.container), doing)
        return f"container {self.container}"

    def purge(self) -> None:
        if self._inspect() is not None:
            run_quiet(
                podman_command("rm", "-f", "-t", "0", self.container), f"forgetting twin {self.spec.name}"
            )
        forget_host_key(self.spec)
        for path in (
            self.spec.directory / "ssh_host_ed25519_key",
            self.spec.directory / "ssh_host_ed25519_key.pub",
        ):
            path.unlink(missing_ok=True)


def _tar(files: dict[str, DeviceFile]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(content.data), content.mode
            archive.addfile(member, io.BytesIO(content.data))
    return buffer.getvalue()


def _network() -> None:
    """Make the containers' internal network unless it is there."""
    doing = f"making the network {NETWORK}"
    with locked(cache_dir() / "twins" / ".network.lock"):
        if subprocess.run(podman_command("network", "exists", NETWORK), check=False).returncode == 0:
            return
        run_quiet(
            podman_command(
                *("network", "create", "--internal", "--disable-dns"),
                *("--subnet", str(CONTAINER_SUBNET), "--gateway", str(CONTAINER_GATEWAY), NETWORK),
            ),
            doing,
        )


def container_image(say: Say) -> str:
    """Get the container image from podman's store, or make it. Returns its name.

    Args:
        say: gets progress.

    Raises:
        EdgewrightError: a step failed.
        MissingToolError: a program is not installed.
    """
    recipe, tag = container_recipe(), image_tag()
    (cache_dir() / "twins").mkdir(exist_ok=True)
    with locked(cache_dir() / "twins" / f".{recipe.label}.lock"):
        if subprocess.run(podman_command("image", "exists", tag), check=False).returncode == 0:
            return tag
        start = time.monotonic()
        say(f"making the image {recipe.label} (kept in podman's store; about half a minute)")
        with tempfile.TemporaryDirectory(prefix=f".{recipe.label}.", dir=cache_dir() / "twins") as work:
            packed = Path(work) / "tree.tar"
            make_tree(recipe, packed, Path(work) / "build.log", say)
            run_quiet(
                podman_command("import", "--quiet", os.fspath(packed), tag),
                f"making the image {recipe.label}",
            )
        say(f"made the image {recipe.label} in {time.monotonic() - start:.0f} s")
    return tag
