#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From a bare Debian machine and a stick to verified code, with Python's standard library only.

    fingerprint, given -> metadata/1.root.json -> keyring.pgp -> pins.json -> environment.py and every archive

Each arrow is a SHA-256, but for the one to pins.json: an OpenPGP signature, which gpgv (or sqv) verifies,
that apt has on every Debian machine. Bytes are read once into memory, compared there and used from there, so
a stick that changes while it is read gains nothing. The rest of the work is environment.py's, which is
verified first: this file and the script `install` are all that must be trusted as they are, see
docs/adr/0007-how-the-installer-is-trusted.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import types
from typing import Any

PREFIX = "/opt/edgewright"
STATE = "/var/lib/edgewright"
SITE = "/etc/edgewright/site"
KEEP = 3
SCHEMA = "edgewright.installer/v1"
FIELD = "x-edgewright-installer"
CODE = "environment.py"
MAX_SMALL = 4 << 20  # bytes of root, keyring, pins and signature
MAX_ARCHIVE = 1 << 30  # bytes of one archive, which is held in memory
MAX_UNPACKED = 64 << 30  # bytes

BAD_INPUT, BAD_BYTES, MISSING_TOOL = 2, 3, 5  # the exit codes of `edgewright`
AGAIN = "get the bundle again"

_PATH = re.compile(r"/[A-Za-z0-9/._+-]*\Z", re.ASCII)  # goes into the first line of scripts
_STEP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*\Z", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)


class InstallError(Exception):
    """Why nothing was done, and the exit code."""

    def __init__(self, code: int, told: str) -> None:
        super().__init__(told)
        self.code = code


def say(text: str) -> None:
    """One line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def read_file(stick: str, name: str, limit: int) -> bytes:
    """A plain file of the stick, whole; no link on its way is followed.

    Args:
        stick: The stick's directory.
        name: From its top, with slashes.
        limit: Most bytes to take.
    """
    doing = f"reading {name} from {stick}"
    held = -1
    try:
        held = os.open(stick, os.O_RDONLY | os.O_DIRECTORY)
        *above, last = name.split("/")
        for step in above:
            deeper = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
            os.close(held)
            held = deeper
        found = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=held)
        with os.fdopen(found, "rb") as stream:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                raise InstallError(BAD_BYTES, f"{doing}: expected a plain file; {AGAIN}")
            data = stream.read(limit + 1)
    except OSError as error:
        told = f"{doing}: {error.strerror}; copy the whole bundle to the stick again"
        raise InstallError(BAD_BYTES, told) from error
    finally:
        if held >= 0:
            os.close(held)
    if len(data) > limit:
        raise InstallError(BAD_BYTES, f"{doing}: it has more than {limit} bytes; {AGAIN}")
    return data


def sha256(data: bytes) -> str:
    """Digest in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def grouped(digits: str) -> str:
    """A digest as people compare it."""
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def parse_fingerprint(text: str) -> str:
    """64 hexadecimal digits, however they are spaced."""
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not _HEX.match(digits):
        raise InstallError(
            BAD_INPUT,
            f"reading the fingerprint {text[:100]!r}: expected 64 hexadecimal digits (spaces do not matter), "
            f"got {len(digits)} characters; `edgewright keys fingerprint KEYS` on the build host prints it",
        )
    return digits


def trusted_fingerprint(trust: str) -> str | None:
    """The fingerprint that this controller trusts already; None where no bundle was accepted yet."""
    path = os.path.join(trust, "current", "metadata", "root_history", "1.root.json")
    try:
        with open(path, "rb") as stream:
            return sha256(stream.read(MAX_SMALL))
    except FileNotFoundError:
        return None


def ask_fingerprint(given: str | None, trust: str) -> str:
    """The fingerprint: given, else trusted here already, else typed by the person at the terminal."""
    known = trusted_fingerprint(trust)
    if given is not None:
        digits = parse_fingerprint(given)
        if known not in (None, digits):
            raise InstallError(
                BAD_BYTES,
                "verifying the installer: this controller trusts the root with fingerprint\n  "
                f"{grouped(str(known))}\nbut the one that was given is\n  {grouped(digits)}\ncheck where the "
                f"fingerprint comes from; a controller that changes hands gets a new {trust}",
            )
        return digits
    if known is not None:
        return known
    if not sys.stdin.isatty():
        raise InstallError(
            BAD_INPUT,
            "verifying the installer: no bundle was accepted here yet, so the root's fingerprint is needed: "
            "give --fingerprint HEX; whoever built the bundle gets it with `edgewright keys fingerprint "
            "KEYS` and tells you another way than on this stick",
        )
    say("Fingerprint of the root key, from whoever built the bundle and not from this stick:")
    return parse_fingerprint(input("> "))


def parse_json(data: bytes, what: str) -> Any:
    """JSON, or a refusal."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InstallError(BAD_BYTES, f"reading {what}: it is not JSON; {AGAIN}") from error


def authentic_pins(stick: str, digits: str) -> bytes:
    """The bytes of pins.json, after everything that leads to it was verified.

    Args:
        stick: The stick's directory.
        digits: The root's fingerprint.
    """
    root = read_file(stick, "metadata/1.root.json", MAX_SMALL)
    if sha256(root) != digits:
        raise InstallError(
            BAD_BYTES,
            f"verifying the installer: the root on {stick} has the fingerprint\n  {grouped(sha256(root))}\n"
            f"expected\n  {grouped(digits)}\nthe bundle was signed by somebody else, or the fingerprint "
            "belongs to other keys: ask whoever built it, another way than by this stick",
        )
    try:
        pinned = parse_json(root, "metadata/1.root.json")["signed"][FIELD]["keyring_sha256"]
    except (KeyError, TypeError) as error:
        raise InstallError(
            BAD_BYTES,
            "verifying the installer: the root names no certificate for it; build the bundle with keys that "
            "`edgewright keys ceremony` of this version made",
        ) from error
    ring = read_file(stick, "installer/keyring.pgp", MAX_SMALL)
    if sha256(ring) != pinned:
        raise InstallError(
            BAD_BYTES,
            f"verifying the installer: installer/keyring.pgp has sha256 {sha256(ring)}, but the root names "
            f"{pinned}; it was changed: {AGAIN}",
        )
    pins = read_file(stick, "installer/pins.json", MAX_SMALL)
    check_signature(ring, pins, read_file(stick, "installer/pins.json.sig", MAX_SMALL))
    return pins


def check_signature(ring: bytes, data: bytes, signature: bytes) -> None:
    """Have apt's own verifier check an OpenPGP signature, on private copies of all three."""
    tool = next((found for found in map(shutil.which, ("gpgv", "sqv")) if found), None)
    if tool is None:
        raise InstallError(
            MISSING_TOOL,
            "verifying the installer: neither gpgv nor sqv is here, though apt needs one of them; install "
            "Debian's package gpgv",
        )
    with tempfile.TemporaryDirectory(prefix="ew-install-") as room:
        paths = []
        for name, content in (("keyring.pgp", ring), ("pins.json.sig", signature), ("pins.json", data)):
            paths.append(os.path.join(room, name))
            with open(paths[-1], "wb") as stream:
                stream.write(content)
        # A clock that is behind makes good signatures look early; the bundle's own times are judged later.
        gpgv = ["--homedir", room, "--status-fd", "1", "--ignore-time-conflict"]
        extra = gpgv if os.path.basename(tool) == "gpgv" else []
        done = subprocess.run(
            [tool, *extra, "--keyring", *paths],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": room},
        )
    words = {line.split()[1] for line in done.stdout.decode("utf-8", "replace").splitlines() if " " in line}
    bad = words & {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "NODATA"}
    if done.returncode != 0 or bad or (extra and "VALIDSIG" not in words):
        told = done.stderr.decode("utf-8", "replace").strip().replace("\n", "\n  ")
        raise InstallError(
            BAD_BYTES,
            "verifying the installer: the signature of installer/pins.json does not fit: it, or the list "
            f"itself, was changed; {AGAIN}. {os.path.basename(tool)} says:\n  {told}",
        )


def read_pins(data: bytes, digits: str | None) -> dict[str, Any]:
    """The list's content, held to what it may say: names that stay on the stick, sizes, digests.

    Args:
        data: Its bytes, authentic.
        digits: The fingerprint that it must belong to; None where that was verified another way.
    """
    pins: dict[str, Any] = parse_json(data, "installer/pins.json")
    try:
        if pins["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, got {pins['schema']!r}")
        if digits is not None and pins["root_sha256"] != digits:
            raise ValueError(f"it belongs to the root {pins['root_sha256']}, not to this one")
        if not _STEP.match(pins["version"]):
            raise ValueError(f"version {pins['version']!r}")
        for name, pin in pins["files"].items():
            if not all(map(_STEP.match, name.split("/"))) or not _HEX.match(pin["sha256"]):
                raise ValueError(f"the entry {name!r}")
            if not 0 <= pin["size"] <= MAX_ARCHIVE:
                raise ValueError(f"{pin['size']} bytes of {name}")
        for one in pins["environments"]:
            missing = [name for name in (*one["archives"], CODE) if name not in pins["files"]]
            if missing:
                raise ValueError(f"no size and sha256 of {missing[0]}")
            if not 0 <= one["unpacked_bytes"] + one["unpacked_files"] <= MAX_UNPACKED:
                raise ValueError(f"{one['unpacked_bytes']} bytes unpacked")
        end = str(pins["expires"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InstallError(BAD_BYTES, f"reading installer/pins.json: {error}; {AGAIN}") from error
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if now >= end:
        raise InstallError(
            BAD_BYTES,
            f"verifying the installer: it ended {end}, and this machine's clock says {now}; get a newer "
            "bundle, or set the clock if it is wrong (`date -u --set '2026-11-19 02:12:54'`)",
        )
    return pins


def choose(pins: dict[str, Any]) -> dict[str, Any]:
    """The environment that is for this machine."""
    here = (f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine())
    one: dict[str, Any]
    for one in pins["environments"]:
        if (one["python"], one["machine"]) == here:
            return one
    carried = ", ".join(f"Python {one['python']} on {one['machine']}" for one in pins["environments"])
    raise InstallError(
        BAD_INPUT,
        f"choosing the environment: this machine has Python {here[0]} on {here[1]}, the bundle carries one "
        f"for {carried}; use such a machine, or build the bundle of a release for its suite and architecture",
    )


def read_pinned(stick: str, pins: dict[str, Any], name: str) -> bytes:
    """A file of installer/, hashed and compared before anybody sees its bytes."""
    pin = pins["files"][name]
    data = read_file(stick, f"installer/{name}", pin["size"])
    if len(data) != pin["size"] or sha256(data) != pin["sha256"]:
        raise InstallError(
            BAD_BYTES,
            f"verifying installer/{name}: expected {pin['size']} bytes with sha256 {pin['sha256']}, got "
            f"{len(data)} with {sha256(data)}; it was changed: {AGAIN}",
        )
    return data


def install(options: argparse.Namespace) -> None:
    """Verify what is in installer/, then let its own code lay it out and go on."""
    stick = options.stick
    if options.pins_sha256 is None:
        digits = ask_fingerprint(options.fingerprint, os.path.join(options.state, "trust"))
        data = authentic_pins(stick, digits)
    else:  # an installed Edgewright has verified the list by its TUF metadata
        digits, data = None, read_file(stick, "installer/pins.json", MAX_SMALL)
        if sha256(data) != options.pins_sha256:
            raise InstallError(BAD_BYTES, f"verifying installer/pins.json: it was changed just now; {AGAIN}")
    pins = read_pins(data, digits)
    one = choose(pins)
    for name in sorted(pins["files"]):  # those for other machines too: a damaged stick is told at once
        read_pinned(stick, pins, name)
    code = types.ModuleType("environment")
    exec(compile(read_pinned(stick, pins, CODE), f"installer/{CODE}", "exec"), code.__dict__)  # noqa: S102 - verified
    words = [*("--state", options.state), *("--keep", str(options.keep))]
    words += ["--fingerprint", digits] if digits else []
    try:
        code.install(
            options.prefix,
            f"{pins['version']}-{sha256(data)[:12]}",
            one,
            lambda name: read_pinned(stick, pins, name),
            ["controller", "take-in", stick, *words],
            options.keep,
        )
    except code.EnvironmentFault as fault:
        raise InstallError(fault.code, str(fault)) from fault
    after = ["--state", options.state, "--site", options.site]
    after += ["--profile", options.profile] if options.profile else []
    verb = "provision-self" if options.self else "next"
    done = code.run_edgewright(os.path.join(options.prefix, "current"), "controller", verb, *after)
    if done != 0:
        raise InstallError(done, "the bundle is installed, but what followed was not done, as told above")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command's words, checked."""
    parser = argparse.ArgumentParser(prog="install", description="Make a controller of this machine.")
    parser.add_argument("--stick", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--pins-sha256", help=argparse.SUPPRESS)
    for name, metavar, default, told in (
        ("--fingerprint", "HEX", None, "sha256 of the root key, from whoever built the bundle"),
        ("--prefix", "DIR", PREFIX, f"where Edgewright goes (default: {PREFIX})"),
        ("--state", "DIR", STATE, f"trusted state, depot and site (default: {STATE})"),
        ("--profile", "NAME", None, "with --self: the machine's hardware profile (default: as detected)"),
        ("--site", "DIR", SITE, f"with --self: its inventory (default: {SITE})"),
    ):
        parser.add_argument(name, metavar=metavar, default=default, help=told)
    parser.add_argument(
        "--keep", type=int, default=KEEP, metavar="N", help=f"releases that stay (default: {KEEP})"
    )
    parser.add_argument(
        "--self", action="store_true", help="then provision this machine itself, as a lone device"
    )
    options = parser.parse_args(arguments)
    for what in ("prefix", "state", "site"):
        path = os.path.normpath(getattr(options, what))
        if not _PATH.match(path) or len(path) > 80 or path == "/":
            raise InstallError(
                BAD_INPUT,
                f"reading --{what}: expected an absolute path of at most 80 letters, digits and ._+-, got "
                f"{path!r}",
            )
        setattr(options, what, path)
    if options.keep < 1:
        raise InstallError(BAD_INPUT, f"reading --keep: expected 1 or more, got {options.keep}")
    if options.profile and not options.self:
        raise InstallError(BAD_INPUT, "reading --profile: it belongs to --self, which was not given")
    return options


def main() -> int:
    """Do it. Returns the exit code."""
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        options = parse(sys.argv[1:])
        if os.geteuid() != 0 and options.prefix == PREFIX:
            raise InstallError(BAD_INPUT, f"installing to {PREFIX}: root must do it; run the same as root")
        install(options)
    except InstallError as error:
        say(f"install: {error}")
        return error.code
    except (KeyboardInterrupt, EOFError):
        say("install: interrupted; run the same command again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
