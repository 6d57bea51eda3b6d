# SPDX-License-Identifier: Apache-2.0
"""A fresh controller: a bare Debian container with systemd, the stick plugged in, and no network.

Its image is the one of container twins: Debian's minimal base with systemd, ssh and python3, and nothing that
Edgewright needs besides.
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import EdgewrightError
from edgewright.twin.container import container_image, limits, podman_command
from edgewright.twin.recipe import container_recipe
from edgewright.twin.tools import Say, need, run_quiet

__all__ = ["SITE", "STICK", "Controller"]

STICK = "/media/stick"
SITE = "/rehearsal"
_MEMORY = "3g"
_START_S = 60.0


@dataclass(frozen=True)
class Controller:
    """The controller of one rehearsal.

    Attributes:
        work: the rehearsal's directory; its name decides the container's.
        stick: the bundle.
        say: gets progress.
        hostname: its own name.
    """

    work: Path
    stick: Path
    say: Say
    hostname: str = "controller"

    @property
    def name(self) -> str:
        """The container's name: one for each place of work, so that what a kill left is found again."""
        return f"edgewright-rehearsal-{hashlib.sha256(str(self.work).encode()).hexdigest()[:12]}"

    @property
    def described(self) -> str:
        """What it is, for the certificate."""
        return f"container twin of image {container_recipe().label}, no network"

    def start(self, site: Path) -> int:
        """Start it anew.

        Args:
            site: the site's directory on this host; it is seen as `SITE`, read only.

        Returns:
            The process id of its first process.

        Raises:
            EdgewrightError: podman or its systemd does not come up.
            MissingToolError: a program is not installed.
        """
        need("podman", "runc")
        doing = "starting the rehearsal's controller"
        image = container_image(self.say)
        self.remove()
        hard = [resource.getrlimit(what)[1] for what in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)]
        words = ["create", "--name", self.name, "--hostname", self.hostname, "--systemd=always"]
        words += ["--network", "none", "--no-hosts", "--memory", _MEMORY, *limits(*hard)]
        words += ["--volume", f"{self.stick}:{STICK}:ro", "--volume", f"{site}:{SITE}:ro"]
        run_quiet(podman_command(*words, image, "/sbin/init"), doing)
        run_quiet(podman_command("start", self.name), doing)
        self._wait(doing)
        self.run(
            "printf 'nameserver 127.0.0.1\\n' > /etc/resolv.conf; "
            f"printf '127.0.0.1 localhost {self.hostname}\\n' > /etc/hosts",
            doing,
        )
        told = run_quiet(podman_command("container", "inspect", self.name), doing)
        pid: int = json.loads(told)[0]["State"]["Pid"]
        return pid

    def _wait(self, doing: str) -> None:
        end = time.monotonic() + _START_S
        while True:
            words = podman_command("exec", self.name, "systemctl", "is-system-running", "--wait")
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.stdout.strip() in {"running", "degraded"}:
                return
            if time.monotonic() > end:
                raise EdgewrightError(
                    f"{doing}: its systemd is not up after {_START_S:.0f} s: {done.stdout}{done.stderr}"
                )
            time.sleep(0.5)

    def run(self, command: str, doing: str) -> str:
        """Run a short shell command on it as root. Returns its standard output.

        Raises:
            EdgewrightError: it failed; the message has its last lines.
        """
        return run_quiet(podman_command("exec", self.name, "sh", "-c", command), doing)

    def run_told(
        self, argv: Sequence[str], log: Path, told: Callable[[float, str], str], every_s: float = 15.0
    ) -> int:
        """Run a long command on it, its output in a log, with a line of progress every few seconds.

        Args:
            argv: the command.
            log: gets its output.
            told: gives the line, from the seconds so far and the log's text.
            every_s: seconds between two lines.

        Returns:
            Its exit status.
        """
        start = time.monotonic()
        with log.open("wb") as handle:
            process = subprocess.Popen(
                podman_command("exec", self.name, *argv),
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
            )
            try:
                while True:
                    try:
                        return process.wait(timeout=every_s)
                    except subprocess.TimeoutExpired:
                        self.say(told(time.monotonic() - start, log.read_text("utf-8", "replace")))
            except BaseException:
                process.terminate()
                process.wait()
                raise

    def fetch(self, path: str, doing: str) -> bytes:
        """The bytes of a file on it.

        Raises:
            EdgewrightError: it cannot be read.
        """
        done = subprocess.run(
            podman_command("exec", self.name, "cat", path), capture_output=True, check=False
        )
        if done.returncode != 0:
            raise EdgewrightError(f"{doing}: {done.stderr.decode('utf-8', 'replace').strip()}")
        return done.stdout

    def remove(self) -> None:
        """Forget it, running or not."""
        run_quiet(
            podman_command("rm", "--force", "--ignore", "--time", "0", self.name),
            "removing the rehearsal's controller",
        )


def last_task(seconds: float, text: str) -> str:
    """A line of progress for a playbook: the task that runs.

    Args:
        seconds: since its start.
        text: what it printed.
    """
    tasks = [line for line in text.splitlines() if line.startswith("TASK [")]
    told = tasks[-1][6:].partition("]")[0] if tasks else "starting"
    return f"  {seconds:.0f} s: {len(tasks)} tasks so far, {told}"


def last_line(seconds: float, text: str) -> str:
    """A line of progress for a command: what it printed last."""
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return f"  {seconds:.0f} s: {lines[-1][:100] if lines else 'starting'}"
