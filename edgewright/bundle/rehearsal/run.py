# SPDX-License-Identifier: Apache-2.0
"""`edgewright bundle rehearse`: install on a fresh controller, provision a fresh device, and let nothing out.

    done = rehearse(stick, keys, work, certificate, say=print)
    done.verdict                       # "closed", or "not closed" with done.failed

Both machines are twins that are made anew, live in one network namespace with nothing but loopback, and are
gone afterwards; logs stay in `work`. A rehearsal that was interrupted starts from the beginning: half a
procedure proves nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import edgewright
from edgewright.bundle.controller import Places
from edgewright.bundle.keyfile import write_file
from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import INDEX, TIMESTAMP, document_name
from edgewright.bundle.rehearsal.certificate import Rehearsed, Step, sign_certificate
from edgewright.bundle.rehearsal.controller import SITE, STICK, Controller, last_line, last_task
from edgewright.bundle.rehearsal.egress import Attempt, Namespace, read_capture
from edgewright.bundle.rehearsal.site import DEVICE, INVENTORY, device_twin, target_of, write_site
from edgewright.bundle.verify import open_bundle
from edgewright.depot.progress import Progress, human_bytes
from edgewright.errors import EdgewrightError, InputError
from edgewright.paths import programs
from edgewright.release.documents import LOCK_FILE, load_lock_file
from edgewright.twin.recipe import vm_recipe
from edgewright.twin.tools import Say, need, run_logged, tail
from edgewright.twin.vm import VmTwin

__all__ = ["Inspected", "failure", "inspect", "recap", "rehearse"]

_PREFIX = "/opt/edgewright/current"
_PLACES = Places(Path("/var/lib/edgewright"))
_MAX_LOCK = 64 << 20
_FATAL = re.compile(
    r"^(?:fatal|failed): \[([^\]]+)\]\S*(?: \(item=.*?\))?:? ?(?:FAILED!|UNREACHABLE!)?.*?=> (\{.*\})$"
)
_APT = re.compile(r"Depends:|Unable to locate|no installation candidate|not installable|unmet dependencies")


class _StepFailedError(Exception):
    """A step of the procedure did not end well; its message says why."""


@dataclass
class _Protocol:
    """What a rehearsal has done so far.

    Attributes:
        say: gets progress.
        steps: those that ended, well or not.
        refused: what was wanted from elsewhere.
        acceptance: verdict and reason of the device's record.
        accelerator: what runs the device's CPUs; empty until it runs.
    """

    say: Say
    steps: list[Step] = field(default_factory=list)
    refused: list[Attempt] = field(default_factory=list)
    acceptance: dict[str, str] = field(default_factory=dict)
    accelerator: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what is put into the list is what was seen. A failed step ends the rehearsal."""
        self.say(f"== {len(self.steps) + 1}. {name}")
        seen: list[str] = []
        start = time.monotonic()
        try:
            yield seen
        except (_StepFailedError, EdgewrightError) as error:
            self.steps.append(Step(name, "failed", str(error), round(time.monotonic() - start, 1)))
            raise _StepFailedError(str(error)) from error
        self.steps.append(Step(name, "rehearsed", "; ".join(seen), round(time.monotonic() - start, 1)))
        self.say(f"   {'; '.join(seen)} ({time.monotonic() - start:.0f} s)")

    def told(
        self, bundle: Inspected, started: str, controller: str, arch: str, others: list[str]
    ) -> Rehearsed:
        """All of it, for the certificate."""
        device = f"VM twin of image {vm_recipe(arch).label}, {self.accelerator or 'not started'}"
        return Rehearsed(
            release=bundle.release,
            development=bundle.development,
            fingerprint=bundle.fingerprint,
            started=started,
            finished=_now(),
            edgewright=edgewright.__version__,
            controller=controller,
            device=device,
            steps=(*self.steps, *_not_real(self.accelerator, others)),
            refused=tuple(self.refused),
            acceptance=self.acceptance,
        )


@dataclass(frozen=True)
class Inspected:
    """What is known of a bundle after it was verified.

    Attributes:
        release: its name and version.
        development: whether it was signed with keys for development.
        fingerprint: of its first root.
        lock: the release's lock.
        subjects: what a certificate of it speaks of: sha256 in hexadecimal by name.
    """

    release: str
    development: bool
    fingerprint: str
    lock: dict[str, Any]
    subjects: dict[str, str]


def rehearse(stick: Path, keys: KeySet, work: Path, certificate: Path, say: Say) -> Rehearsed:
    """Rehearse a bundle and write its closure certificate, whether it went well or not.

    Args:
        stick: the bundle.
        keys: the set that signed it; its release key signs the certificate.
        work: directory for the site, the twins and the logs; it is emptied first.
        certificate: the certificate's file.
        say: gets progress.

    Returns:
        What was done.

    Raises:
        BundleRefused: the bundle is not what these keys signed: there is nothing to rehearse.
        InputError: not root, no twin for the release, or the certificate cannot be written.
        MissingToolError: a program is not installed.
    """
    if os.geteuid() != 0:
        raise InputError(
            "rehearsing a bundle: its machines get a network of their own, which takes root; run the same "
            "command as root"
        )
    need("podman", "runc", "nsenter", "ip", "nft", "dnsmasq", "tcpdump", "ssh", "nc", "qemu-img")
    signers = keys.signers("targets")
    controller = Controller(work, stick.absolute(), say)
    started = _now()
    bundle = inspect(stick, keys, every_byte=say)
    part, others = target_of(bundle.lock)
    done = _Protocol(say)
    _forget(work, controller)
    try:
        _procedure(work, controller, bundle, part, done)
    except _StepFailedError as error:
        say(f"   FAILED: {error}")
    finally:
        _forget(work, controller, keep_logs=True)
    found = done.told(bundle, started, controller.described, str(part["os"]["arch"]), others)
    certificate.parent.mkdir(parents=True, exist_ok=True)
    write_file(certificate, sign_certificate(found, bundle.subjects, signers))
    return found


def inspect(stick: Path, keys: KeySet, *, every_byte: Say | None = None) -> Inspected:
    """What is on a stick, verified.

    Args:
        stick: the bundle.
        keys: the set that signed it.
        every_byte: verify the content too, not the metadata alone, and tell so.

    Raises:
        BundleRefused: it is not what these keys signed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ew-rehearse-") as room,
        open_bundle(stick, Path(room) / "trust", fingerprint=keys.fingerprint) as opened,
    ):
        if every_byte:
            progress = Progress("verifying the bundle", opened.size)
            opened.check_all(progress)
            progress.close()
            every_byte(
                f"{opened.index.name}: {len(opened.files)} files are right, {human_bytes(opened.size)}"
            )
        data = opened.read(document_name(LOCK_FILE), _MAX_LOCK)
        (Path(room) / LOCK_FILE).write_bytes(data)
        lock, _ = load_lock_file(Path(room) / LOCK_FILE)
        timestamp = hashlib.sha256((stick / TIMESTAMP).read_bytes()).hexdigest()
        subjects = {
            TIMESTAMP: timestamp,
            INDEX: opened.files[INDEX].sha256,
            LOCK_FILE: hashlib.sha256(data).hexdigest(),
        }
        return Inspected(opened.index.name, opened.index.development, opened.fingerprint, lock, subjects)


def _procedure(
    work: Path, controller: Controller, bundle: Inspected, part: Mapping[str, Any], done: _Protocol
) -> None:
    """What people at a site do, step by step."""
    twins = write_site(work, _PLACES, str(part["os"]["suite"]), str(part["os"]["arch"]))
    twin = VmTwin(device_twin(work), done.say)
    with done.step("start a bare controller without a network") as seen:
        net = Namespace(controller.start(work), work / "dns.log")
        seen.append("loopback alone; whatever goes elsewhere is refused and written down")
    try:
        with net:
            try:
                with done.step("install on the controller") as seen:
                    words = ["sh", f"{STICK}/install", "--fingerprint", bundle.fingerprint]
                    code = controller.run_told(words, work / "install.log", last_line)
                    if code != 0:
                        raise _StepFailedError(
                            f"install ended with status {code}: {tail(work / 'install.log', 12)}"
                        )
                    seen.append(controller.run(f"{_PREFIX}/bin/edgewright --version", "asking").strip())
                with done.step("start a bare device that reaches the controller alone") as seen:
                    program = str(programs() / "edgewright")
                    command = [*net.enter, program, "twin", "up", "-i", str(twins)]
                    run_logged(command, "starting the device", work / "twin.log", done.say)
                    done.accelerator = twin.accelerator() or ""
                    seen.append(f"a VM twin, {done.accelerator}")
                site = f"{controller.run(_COLLECTION, 'looking for site.yml').strip()}/site.yml"
                with done.step("provision the device: ansible-playbook site.yml") as seen:
                    seen.append(_told(_play(controller, site, work / "site.log")))
                    reboots = twin.boots() - 1
                    seen.append(f"{reboots} reboot{'' if reboots == 1 else 's'}")
                    done.acceptance.update(_acceptance(controller))
                with done.step("run site.yml again: nothing may change") as seen:
                    counts = _play(controller, site, work / "again.log")
                    if counts.get("changed") != 0:
                        raise _StepFailedError(f"the second run changed the device: {_told(counts)}")
                    seen.append(_told(counts))
            finally:
                done.refused += net.refused()
    finally:
        capture = twin.spec.capture_file
        if capture.exists():
            twin.kill()
            done.refused += read_capture(capture)


_COLLECTION = f"{_PREFIX}/bin/python3 -c 'import edgewright.paths as p; print(p.collection_root())'"


def _play(controller: Controller, site: str, log: Path) -> dict[str, int]:
    """Run site.yml on the controller. Returns the device's numbers of its recap."""
    words = [f"{_PREFIX}/bin/ansible-playbook", "-i", f"{SITE}/{INVENTORY}", site]
    code = controller.run_told(words, log, last_task)
    text = log.read_text("utf-8", "replace")
    if code != 0:
        raise _StepFailedError(f"ansible-playbook ended with status {code}: {failure(text) or tail(log, 12)}")
    return recap(text, DEVICE)


def recap(text: str, host: str) -> dict[str, int]:
    """A host's numbers in the PLAY RECAP of what ansible-playbook printed; empty when it has none."""
    found = re.search(rf"^{re.escape(host)}\s+: (.*)$", text, re.MULTILINE)
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", found[1])} if found else {}


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[key]} {key}" for key in ("ok", "changed", "failed") if key in counts)


def failure(text: str) -> str:
    """Why a playbook failed, by what it printed: task, host, message, and what apt said of dependencies.

    Args:
        text: ansible-playbook's output.

    Returns:
        A sentence or several; empty when nothing in it says so.
    """
    task, found = "", []
    for line in text.splitlines():
        if line.startswith("TASK ["):
            task = line[6:].rpartition("]")[0]
            continue
        parsed = _FATAL.match(line)
        if parsed is None:
            continue
        try:
            result = json.loads(parsed[2])
        except ValueError:
            result = {"msg": parsed[2]}
        parts = [" ".join(str(result.get("msg", "")).split())]
        for one in [result, *(item for item in result.get("results", []) if isinstance(item, dict))]:
            said = [str(one.get(name, "")) for name in ("stdout", "stderr")]
            lines = [line.strip() for part in said for line in part.splitlines() if _APT.search(line)]
            parts += [line for line in dict.fromkeys(lines) if line not in parts[0]]
        found.append(f"{parsed[1]}, task {task}: {'; '.join(part for part in parts if part)}")
    return ". ".join(found)


def _acceptance(controller: Controller) -> dict[str, str]:
    """Verdict and reason of the device's newest record."""
    doing = "reading the device's record"
    path = controller.run(f"ls {_PLACES.state}/records/{DEVICE}/*.json | tail -n 1", doing).strip()
    record = json.loads(controller.fetch(path, doing))
    return {"verdict": str(record["verdict"]), "reason": str(record["reason"])}


def _not_real(accelerator: str, others: list[str]) -> list[Step]:
    """What stood in for something else, and what was left out: by name."""
    steps = [
        Step(
            "the device",
            "simulated",
            f"a VM twin ({accelerator or 'not reached'}) stands in for the hardware",
        ),
        Step("the stick", "simulated", "a directory, read only, stands in for the medium"),
        Step(
            "the fingerprint", "simulated", "taken from the keys of this host; at the site a person brings it"
        ),
    ]
    if accelerator == "tcg":
        steps.append(Step("time", "skipped", "the device's CPU is emulated: latencies prove nothing"))
    steps.append(Step("a GPU", "skipped", "a twin has none"))
    return steps + [Step(f"target {name}", "skipped", "one target is rehearsed at a time") for name in others]


def _forget(work: Path, controller: Controller, *, keep_logs: bool = False) -> None:
    """Remove the twins of this place of work, and its files, but for logs that someone may want to read."""
    VmTwin(device_twin(work)).purge()
    controller.remove()
    for path in sorted(work.glob("*")) if work.is_dir() else []:
        if keep_logs and path.suffix == ".log":
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    work.mkdir(parents=True, exist_ok=True)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
