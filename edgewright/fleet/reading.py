# SPDX-License-Identifier: Apache-2.0
"""Read every device of an inventory once, through ansible-runner: one probe each, all side by side.

Nothing here decides anything about a device: `edgewright.factory.fleet_state` reads and compares, one worker
for all (`edgewright.factory.device_state` where a device is not reached by ssh), and what it says is kept as
it came. A device that did not answer, or could not be read, has a row of its own that says so; it is never
left out and never taken for one without drift.

    for reading in read_devices(Path("inventories/factory")):
        print(reading.host, reading.outcome, len(reading.drift))
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgewright.device.drift import Drift
from edgewright.errors import EdgewrightError, InputError
from edgewright.fleet.ways import os_of, skipped
from edgewright.paths import collection_root, programs

__all__ = ["OUTCOMES", "Reading", "cause", "exit_code", "read_devices", "readings_of"]

PLAYBOOK = Path("playbooks") / "read_devices.yml"
# read: it answered. unreachable: it, or the connection to it, did not. failed: its inputs are wrong or it
# could not be read. unanswered: the run ended before it had its turn.
OUTCOMES = ("read", "unreachable", "failed", "unanswered")
# `edgewright drift` ends with this where something drifted; 1 to 5 are the families of errors.
DRIFT_EXIT_CODE = 10
_UNREACHABLE_EXIT_CODE = 4


@dataclass(frozen=True)
class Reading:
    """What one device answered.

    Attributes:
        host: its name in the inventory.
        outcome: one of `OUTCOMES`.
        drift: items that differ; empty unless it was read.
        message: why there is no answer, as sentences; empty where it was read.
        lock: the lock that it was compared with; empty where that is not known.
        profile: its hardware profile; empty where that is not known.
        stored: digests of images that the device holds though it does not run them, as far as it was asked.
        state_dir: the site's state on the controller; empty where that is not known.
        os: the OS that it is to have; empty where that is not known.
        skipped: items that it cannot show, as `area.item`, each with the reason.
    """

    host: str
    outcome: str
    drift: tuple[Drift, ...] = ()
    message: str = ""
    lock: str = ""
    profile: str = ""
    stored: tuple[str, ...] = ()
    state_dir: str = ""
    os: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """One word or two for a person: `as wanted`, `drift`, `unreachable`, `failed`, `unanswered`."""
        if self.outcome != "read":
            return self.outcome
        return "drift" if self.drift else "as wanted"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "host": self.host,
            "state": self.state,
            "message": self.message,
            "lock": self.lock,
            "profile": self.profile,
            "os": self.os,
            "skipped": dict(self.skipped),
            "drift": [drift.as_dict() for drift in self.drift],
        }


# What ssh says -> what it means and what to do. The first that matches counts.
_CAUSES = (
    (
        r"IDENTIFICATION HAS CHANGED|Host key verification failed|host key.*changed",
        "another host key than the known one answers at its address: the address is stale, the device was"
        " installed anew, or somebody is in between. Compare the key at the device itself before you replace"
        " it in known_hosts",
    ),
    (
        r"Permission denied|Authentication failed|Incorrect sudo password|Missing sudo password",
        "the device refuses the login. Look at ansible_user, the key and the rights to become root",
    ),
    (r"Could not resolve|Name or service not known", "its name has no address. Look at ansible_host"),
    (
        r"Connection refused",
        "its address answers, but nothing listens there. Is the address stale, the port wrong, or sshd not"
        " up yet?",
    ),
    (
        r"timed out|No route to host|Network is unreachable|not responding|Timeout",
        "nothing answers at its address in time. Is it on, its cable in, its address still the same?",
    ),
    (
        r"Connection (reset|closed)|Broken pipe|closed by remote|Shared connection|Data could not be sent",
        "the connection ended in the middle. Did it restart, or lose power?",
    ),
)


def cause(text: str) -> str:
    """What an unreachable device's message means, and what to do; empty where that is not known."""
    return next((words for pattern, words in _CAUSES if re.search(pattern, text, re.IGNORECASE)), "")


def readings_of(event: Mapping[str, Any]) -> list[Reading]:
    """The readings that an event of ansible-runner tells; none for an event that tells none.

    Args:
        event: `event` (its kind) and `event_data` (host, result). The result of `fleet_state` has a reading
            of each device that it asked; any other is the host's own.
    """
    data = event.get("event_data") or {}
    host, result = str(data.get("host") or ""), data.get("res") or {}
    kind = event.get("event")
    if not host:
        return []
    if kind == "runner_on_unreachable":
        return [_reading(host, {**result, "unreachable": True})]
    if kind == "runner_on_failed":
        return [_reading(host, {**result, "failed": True})]
    if kind == "runner_on_ok" and isinstance(result.get("readings"), Mapping):
        return [_reading(str(name), told) for name, told in result["readings"].items()]
    if kind == "runner_on_ok" and "drift" in result:
        have = result.get("have") or {}
        return [_reading(host, {**result, "stored": (have.get("runtime") or {}).get("stored")})]
    return []


def _reading(host: str, told: Mapping[str, Any]) -> Reading:
    """A device's reading of what a task said of it."""
    message = " ".join(str(told.get("msg") or "it said nothing").split())
    if told.get("unreachable"):
        hint = cause(message)
        return Reading(host, "unreachable", message=f"{hint} ({message})" if hint else message)
    if told.get("failed") or "drift" not in told:
        return Reading(host, "failed", message=message)
    want = told.get("want") or {}
    return Reading(
        host,
        "read",
        tuple(Drift(**item) for item in told["drift"]),
        lock=str(told.get("lock") or ""),
        profile=str(told.get("profile") or ""),
        state_dir=str(told.get("state_dir") or ""),
        os=os_of(want) if want else "",
        skipped=skipped(want),
        stored=tuple(str(reference).rpartition("@")[2] for reference in told.get("stored") or ()),
    )


@dataclass
class _Collector:
    """Readings by host, as the events come; hosts that began and never answered stay unanswered.

    Attributes:
        readings: by host.
        asked: all hosts, in the inventory's order, once the task that asks all has ended.
        said: what Ansible said besides.
    """

    readings: dict[str, Reading] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __call__(self, event: dict[str, Any]) -> bool:
        host = str((event.get("event_data") or {}).get("host") or "")
        if event.get("event") == "runner_on_start" and host:
            self.readings.setdefault(host, _unanswered(host))
        for reading in readings_of(event):
            self.readings[reading.host] = reading
        self.asked = self.asked or list(((event.get("event_data") or {}).get("res") or {}).get("asked") or ())
        if event.get("event") in ("verbose", "error", "warning") and event.get("stdout"):
            self.said.append(str(event["stdout"]))
        return False  # no event is kept on disk: a want may be long, and is nobody else's business


def _unanswered(host: str) -> Reading:
    return Reading(host, "unanswered", message="the run ended before it answered")


def read_devices(
    inventory: Path, *, limit: str = "", forks: int = 20, timeout_s: int = 120, playbook: Path | None = None
) -> list[Reading]:
    """Read every device once.

    Args:
        inventory: file or directory.
        limit: hosts to read, a pattern of Ansible; all of the group `devices` when empty.
        forks: devices that are read at the same time.
        timeout_s: seconds after which a device that does not come to an end is given up.
        playbook: the playbook; the collection's own when None.

    Returns:
        One reading for each device, in the inventory's order as far as the run got to them.

    Raises:
        InputError: there is no such inventory, or no device in it that fits.
        EdgewrightError: the run itself failed; carries what it said.
    """
    import ansible_runner  # noqa: PLC0415 - a third of a second that no other command needs to spend

    if not inventory.exists():
        raise InputError(f"reading devices: there is no inventory {inventory}; name it with --inventory")
    collector = _Collector()
    with tempfile.TemporaryDirectory(prefix="edgewright-read-") as private:
        run = ansible_runner.run(
            private_data_dir=private,
            project_dir=str(collection_root()),
            playbook=str(playbook or collection_root() / PLAYBOOK),
            inventory=str(inventory.resolve()),
            limit=limit or None,
            forks=forks,
            envvars=_environment(),
            extravars={"__edgewright_answer_within_s": timeout_s},
            event_handler=collector,
            quiet=True,
            settings={"suppress_env_files": True},
        )
    readings = _all_of(collector, inventory, limit) if collector.readings else []
    if not readings:
        said = " ".join(" ".join(collector.said).split())[:1500] or "nothing"
        if run.rc == 0 or re.search(r"no hosts (matched|to target)|not match supplied host", said):
            chosen = f"--limit {limit}" if limit else "the group devices"
            raise InputError(
                f"reading devices: {chosen} of the inventory {inventory} has no device; look at its hosts"
                f" with `ansible-inventory -i {inventory} --graph`"
            )
        raise EdgewrightError(
            f"reading devices: the run over {inventory} ended with status {run.rc} ({run.status}) before any"
            f" device was asked. Ansible said: {said}"
        )
    return readings


def _all_of(collector: _Collector, inventory: Path, limit: str) -> list[Reading]:
    """A reading for each device, in the inventory's order; unanswered where the run did not get to it."""
    asked = collector.asked or _hosts(inventory, limit)
    found = {name: collector.readings.get(name) or _unanswered(name) for name in asked}
    return list({**found, **collector.readings}.values())


def _hosts(inventory: Path, limit: str) -> list[str]:
    """Names of the devices, for a run that ended before it had told them.

    Raises:
        EdgewrightError: Ansible does not list them either.
    """
    argv = ["ansible", "devices", "--list-hosts", "-i", str(inventory)]
    try:
        done = subprocess.run(
            [*argv, *(["--limit", limit] if limit else [])],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **_environment()},
        )
    except OSError as error:
        raise EdgewrightError(
            f"listing the devices of {inventory}: {argv[0]} does not start: {error}"
        ) from error
    if done.returncode != 0:
        raise EdgewrightError(
            f"reading devices: the run over {inventory} ended before it had asked all, and Ansible does not"
            f" list them: {' '.join(done.stderr.split())[-600:]}"
        )
    return [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]


def _environment() -> dict[str, str]:
    """Settings of the run: the user's configuration, the checkout's where there is none."""
    configured = os.environ.get("ANSIBLE_CONFIG")
    candidates = (
        [Path(configured)] if configured else [Path("ansible.cfg"), collection_root() / "ansible.cfg"]
    )
    found = next((path.resolve() for path in candidates if path.is_file()), None)
    settings = {
        # Where Edgewright is called by its path, its environment's programs are on nobody's PATH.
        "PATH": os.pathsep.join((str(programs()), os.environ.get("PATH", os.defpath))),
        # A limit on tasks would take the devices apart again; the limit on each of them is the playbook's.
        "ANSIBLE_TASK_TIMEOUT": "0",
        # ansible-runner switches the checking of host keys off where the environment does not say it.
        "ANSIBLE_HOST_KEY_CHECKING": os.environ.get("ANSIBLE_HOST_KEY_CHECKING", "True"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
    }
    return settings | ({"ANSIBLE_CONFIG": str(found)} if found else {})


def exit_code(readings: Sequence[Reading], drift_code: int = DRIFT_EXIT_CODE) -> int:
    """Exit code over all devices: what is not known comes before what drifted, so that 0 means all is known.

    Args:
        readings: of all devices.
        drift_code: for drift alone; 0 where drift is no news, as in a plan.
    """
    outcomes = {reading.outcome for reading in readings}
    if "failed" in outcomes:
        return EdgewrightError.exit_code
    if outcomes & {"unreachable", "unanswered"}:
        return _UNREACHABLE_EXIT_CODE
    return drift_code if any(reading.drift for reading in readings) else 0
