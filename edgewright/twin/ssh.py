# SPDX-License-Identifier: Apache-2.0
"""Speak with a twin over ssh, with host key checking on: its command line, and the wait for it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Sequence

from edgewright.errors import UnreachableError
from edgewright.twin.spec import TwinSpec
from edgewright.twin.tools import Say, need

__all__ = ["run_ssh", "speaks_ssh", "ssh_command", "wait_for_ssh"]


def ssh_command(spec: TwinSpec, remote: Sequence[str] = ()) -> list[str]:
    """The ssh command to a twin, as root, whose host key must be the one in the site's known_hosts.

    Args:
        spec: the twin.
        remote: the command there, as ssh takes it (joined by spaces, read by a shell); empty for a session.
    """
    return [
        *("ssh", "-F", "none", "-i", str(spec.private_key), "-p", str(spec.port), "-o", "IdentitiesOnly=yes"),
        *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={spec.known_hosts}"),
        *("-o", "GlobalKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60", "-o", "LogLevel=ERROR"),
        f"root@{spec.address}",
        *remote,
    ]


def run_ssh(
    spec: TwinSpec, command: str, *, stdin: str | None = None, timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run a shell command on a twin and keep its output. Its status is the caller's to look at.

    Args:
        spec: the twin.
        command: shell text.
        stdin: text for its standard input; None for an empty one.
        timeout_s: seconds until it is given up.

    Raises:
        UnreachableError: no end within the time.
    """
    need("ssh")
    argv = ssh_command(spec, ["--", command])
    try:
        return subprocess.run(
            argv, input=stdin or "", capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(
            f"running a command on twin {spec.name}: no end within {timeout_s:.0f} s: {command[:80]}"
        ) from error


def speaks_ssh(spec: TwinSpec, timeout_s: float = 5.0) -> bool:
    """Whether an ssh server greets at the twin's port (QEMU accepts connections before there is one)."""
    try:
        with socket.create_connection((spec.address, spec.port), timeout=timeout_s) as link:
            link.settimeout(timeout_s)
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_for_ssh(
    spec: TwinSpec,
    *,
    phase: Callable[[], str],
    alive: Callable[[], bool],
    say: Say,
    timeout_s: float,
    every_s: float = 10.0,
) -> float:
    """Wait until the twin lets the controller in.

    Args:
        spec: the twin.
        phase: how far it is, in a word or two, for the line of progress.
        alive: whether it still runs at all.
        say: gets a line of progress every `every_s` seconds.
        timeout_s: seconds until it is given up.
        every_s: seconds between two lines of progress.

    Returns:
        The seconds it took.

    Raises:
        UnreachableError: it ended, the time is over, or it refuses the controller.
    """
    start = time.monotonic()
    told = start
    while True:
        if speaks_ssh(spec):
            done = run_ssh(spec, "true", timeout_s=max(60.0, timeout_s))
            if done.returncode == 0:
                return time.monotonic() - start
            if "Host key verification failed" in done.stderr or "Permission denied" in done.stderr:
                raise UnreachableError(
                    f"waiting for twin {spec.name}: something answers at {spec.address} port {spec.port}, "
                    f"but not as this twin: {done.stderr.strip()}"
                )
        now = time.monotonic()
        if not alive():
            raise UnreachableError(f"waiting for twin {spec.name}: it ended after {now - start:.0f} s")
        if now - start > timeout_s:
            raise UnreachableError(
                f"waiting for twin {spec.name}: no ssh at {spec.address} port {spec.port} within "
                f"{timeout_s:.0f} s (last phase: {phase()})"
            )
        if now - told >= every_s:
            told = now
            say(f"{spec.name}: {now - start:.0f} s, {phase()}")
        time.sleep(0.5)
