# SPDX-License-Identifier: Apache-2.0
"""What every kind of twin does the same way: start and wait for ssh, run a command, end at once."""

from __future__ import annotations

import subprocess
import time
from abc import ABC, abstractmethod
from typing import ClassVar

from edgewright.errors import EdgewrightError, UnreachableError
from edgewright.twin.keys import controller_key, locked, remember_host_key
from edgewright.twin.spec import TwinSpec
from edgewright.twin.ssh import run_ssh, wait_for_ssh
from edgewright.twin.tools import Say, need, say_print

__all__ = ["Twin"]


class Twin(ABC):
    """A machine that stands in for a device.

    Args:
        spec: what it shall be; its kind is the class's.
        say: gets lines of progress.
    """

    needs: ClassVar[tuple[str, ...]]
    """Programs of this host without which it does not start."""
    start_s: ClassVar[float]
    """Seconds that a start may take."""
    stop_s: ClassVar[float]
    """Seconds that an orderly end may take."""

    def __init__(self, spec: TwinSpec, say: Say = say_print) -> None:
        self.spec = spec
        self._say = say

    @abstractmethod
    def is_up(self) -> bool:
        """Whether it runs."""

    @abstractmethod
    def accelerator(self) -> str | None:
        """What runs its code (`kvm`, `tcg`, `host`), read from what runs; None when it is down."""

    @abstractmethod
    def _start(self) -> None:
        """Make what is missing and start it, without waiting."""

    @abstractmethod
    def _phase(self) -> str:
        """How far its start is, in a word or two."""

    @abstractmethod
    def _last_words(self) -> str:
        """Where its console is written down, and the last lines of it."""

    @abstractmethod
    def _stop(self, timeout_s: float) -> None:
        """End it in order; after the time, at once."""

    @abstractmethod
    def _cut(self) -> str:
        """End it at once, without waiting. Returns what was ended, for a message."""

    @abstractmethod
    def purge(self) -> None:
        """Stop it and forget it: disk, logs, host key."""

    def up(self, timeout_s: float | None = None) -> bool:
        """Start it unless it runs, and wait until ssh lets the controller in.

        Args:
            timeout_s: seconds for the start; `start_s` when not given.

        Returns:
            True when it was started, False when it was up already.

        Raises:
            EdgewrightError: its image, its disk or the start failed.
            UnreachableError: it does not come up; the message ends with its console's last lines.
            MissingToolError: a program is not installed.
        """
        need(*self.needs)
        with locked(self.spec.directory / ".lock"):
            controller_key(self.spec)
            remember_host_key(self.spec)
            started = not self.is_up()
            if started:
                self._start()
            try:
                took = wait_for_ssh(
                    self.spec,
                    phase=self._phase,
                    alive=self.is_up,
                    say=self._say,
                    timeout_s=self.start_s if timeout_s is None else timeout_s,
                )
            except UnreachableError as error:
                raise UnreachableError(f"{error}; the end of {self._last_words()}") from error
            if started:
                self._say(f"{self.spec.name}: ssh after {took:.0f} s")
        return started

    def run(
        self, command: str, *, stdin: str | None = None, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on it as root, as `edgewright.twin.ssh.run_ssh` does."""
        return run_ssh(self.spec, command, stdin=stdin, timeout_s=timeout_s)

    def down(self, timeout_s: float | None = None) -> bool:
        """Switch it off as a person does; after the time, as a power cut does.

        Args:
            timeout_s: seconds for an orderly end; `stop_s` when not given.

        Returns:
            True when it was running.
        """
        if not self.is_up():
            return False
        self._stop(self.stop_s if timeout_s is None else timeout_s)
        return True

    def kill(self) -> bool:
        """Cut its power: what the device had not written is lost, its files stay.

        Returns:
            True when it was running.

        Raises:
            EdgewrightError: it does not die.
        """
        if not self.is_up():
            return False
        ended = self._cut()
        for _ in range(100):
            if not self.is_up():
                return True
            time.sleep(0.1)
        raise EdgewrightError(
            f"cutting the power of twin {self.spec.name}: {ended} did not end in 10 s; look at it by hand"
        )
