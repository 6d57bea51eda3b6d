# SPDX-License-Identifier: Apache-2.0
"""Run the programs that make and start twins: found or named with their package, timed, and told of."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgewright.errors import EdgewrightError, MissingToolError

__all__ = ["Say", "as_root", "need", "run_logged", "run_quiet", "say_nothing", "say_print", "tail"]

Say = Callable[[str], None]
"""Where progress goes: one line at a time, without its newline."""

_GRACE_S = 5.0
"""How long a command that is stopped may take to end by itself."""

_PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "sgdisk": "gdisk",
    "mformat": "mtools",
    "mmd": "mtools",
    "mcopy": "mtools",
    "grub-mkimage": "grub-common",
    "grub-editenv": "grub-common",
    "mksquashfs": "squashfs-tools",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-aarch64-static": "qemu-user-static",
    "arch-test": "arch-test",
    "nc": "netcat-openbsd",
    "ssh": "openssh-client",
    "podman": "podman",
    "runc": "runc",
    "cp": "coreutils",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "tcpdump": "tcpdump",
}


def say_print(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)


def say_nothing(line: str) -> None:
    """Drop a line of progress."""


def need(*programs: str) -> None:
    """Check that programs are installed.

    Raises:
        MissingToolError: one is not; names all that are missing and their Debian packages.
    """
    path = "/usr/local/sbin:/usr/sbin:/sbin"
    missing = [name for name in programs if not (shutil.which(name) or shutil.which(name, path=path))]
    if missing:
        packages = sorted({_PACKAGES.get(name, name) for name in missing})
        raise MissingToolError(
            f"looking for {', '.join(missing)}: not installed on this host; "
            f"run: apt-get install {' '.join(packages)}"
        )


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, readable: no control characters. Empty when there is no such file."""
    try:
        data = path.read_bytes()[-65536:]
    except FileNotFoundError:
        return ""
    text = data.decode("utf-8", "replace").replace("\r", "")
    clean = "".join(ch for ch in text if ch == "\n" or ch.isprintable())
    return "\n".join([line for line in clean.split("\n") if line.strip()][-lines:])


def as_root(argv: Sequence[str], doing: str) -> list[str]:
    """The command as root runs it: as it is for root, else through sudo, which must not ask.

    Args:
        argv: the command.
        doing: what it is for, for the message.

    Raises:
        EdgewrightError: this user is not root and may not use sudo without a password.
    """
    if os.geteuid() == 0:
        return list(argv)
    tried = shutil.which("sudo") and subprocess.run(
        ["sudo", "-n", "true"], capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    if not tried or tried.returncode != 0:
        raise EdgewrightError(
            f"{doing}: this takes root; run the same command as root, or as a user of sudo who is not asked "
            "for a password (run `sudo -v` just before)"
        )
    return ["sudo", "-n", *argv]


def run_quiet(argv: Sequence[str], doing: str, *, cwd: Path | None = None, stdin: str | None = None) -> str:
    """Run a short command.

    Args:
        argv: the command.
        doing: what it is for, as the start of an error message (`making the disk of twin edge-01`).
        cwd: where to run it.
        stdin: text for its standard input.

    Returns:
        Its standard output.

    Raises:
        EdgewrightError: it failed; the message has its last lines.
        MissingToolError: it is not installed.
    """
    need(argv[0])
    done = subprocess.run(argv, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-12:])
        raise EdgewrightError(f"{doing}: {argv[0]} ended with status {done.returncode}: {said}")
    return done.stdout


def run_logged(argv: Sequence[str], doing: str, log: Path, say: Say, every_s: float = 10.0) -> None:
    """Run a long command with its output in a log, and tell every few seconds how far it is.

    Args:
        argv: the command.
        doing: what it is for, as in `run_quiet`.
        log: gets its output, appended.
        say: gets a line of progress with the seconds passed and the log's last line.
        every_s: seconds between two lines of progress.

    Raises:
        EdgewrightError: it failed; the message has the log's last lines.
        MissingToolError: it is not installed.
    """
    need(argv[0])
    start = time.monotonic()
    with log.open("ab") as handle:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT)
        try:
            while True:
                try:
                    status = process.wait(timeout=every_s)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{doing}: {time.monotonic() - start:.0f} s, {tail(log, 1)[:90]}")
        except BaseException:
            process.terminate()
            try:
                process.wait(timeout=_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()  # unshare blocks SIGTERM while what it started runs
                process.wait()
            raise
    if status != 0:
        raise EdgewrightError(
            f"{doing}: {argv[0]} ended with status {status}; the end of {log}:\n{tail(log)}"
        )
