# SPDX-License-Identifier: Apache-2.0
"""Serving a depot with Debian's nginx as a plain process, from the same template as role `depot`.

`serve` stays in the foreground; `up`, `down` and `status` keep one in the background by a state directory,
which holds the rendered configuration, the pid and the logs. Works as root and as any other user.

    service = DepotService(ServeOptions(depot, ["127.0.0.1:8443"], cert, key, client_ca), state)
    service.up()
"""

from __future__ import annotations

import grp
import hashlib
import ipaddress
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from edgewright.depot.manifest import load_depot
from edgewright.depot.progress import say
from edgewright.errors import InputError, MissingToolError, UnreachableError
from edgewright.paths import collection_root

__all__ = ["DepotService", "ServeOptions", "render_config", "worker_user"]

_CONFIG = "nginx.conf"
_START_S = 10.0
_STOP_S = 10.0


@dataclass(frozen=True)
class ServeOptions:
    """What is served, where, and with which TLS files (PEM)."""

    depot: Path
    listen: Sequence[str]
    certificate: Path
    key: Path
    client_ca: Path

    def check(self) -> None:
        """Refuse what nginx would refuse later and worse told.

        Raises:
            InputError: An address or a file is wrong.
        """
        for address in self.listen:
            _check_address(address)
        for option, path in (
            ("--cert", self.certificate),
            ("--key", self.key),
            ("--client-ca", self.client_ca),
        ):
            if not path.is_file():
                raise InputError(
                    f"serving the depot: {option} {path} does not exist; role authority "
                    "makes the site's certificates"
                )
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise InputError(
                f"serving the depot: {self.certificate} and {self.key} are no certificate and its key: "
                f"{error}"
            ) from error
        load_depot(self.depot)


def _check_address(address: str) -> None:
    found = re.fullmatch(r"(?P<host>\[[0-9a-fA-F:]+\]|[0-9.]+|\*):(?P<port>\d{1,5})", address)
    try:
        if found is None or not 0 < int(found["port"]) < 65536:
            raise ValueError
        if found["host"] != "*":
            ipaddress.ip_address(found["host"].strip("[]"))
    except ValueError as error:
        raise InputError(
            f"serving the depot: --listen {address}: expected ADDRESS:PORT, such as "
            "127.0.0.1:8443 or [::1]:8443"
        ) from error


def worker_user(depot: Path) -> str:
    """The user that nginx's workers run as.

    Args:
        depot: What they must read.

    Returns:
        Empty when this process is not root (nginx cannot change users then). `www-data` when it can reach
        the depot, else the depot's owner: a checkout below a private home is readable by nobody else.
    """
    if os.geteuid() != 0:
        return ""
    group = ""
    for place in (depot.resolve(), *depot.resolve().parents):
        facts = place.stat()
        if not facts.st_mode & 0o001:
            owner = pwd.getpwuid(depot.stat().st_uid)
            group = grp.getgrgid(owner.pw_gid).gr_name
            return f"{owner.pw_name} {group}"
    return "www-data"


def render_config(options: ServeOptions, state: Path) -> str:
    """The configuration, from role `depot`'s template."""
    folder = collection_root() / "roles" / "depot" / "templates"
    loader = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - a configuration file, not HTML
    )
    tls = hashlib.sha256()
    for path in (options.certificate, options.client_ca):
        tls.update(path.read_bytes())
    return loader.get_template("nginx.conf.j2").render(
        depot_dir=str(options.depot.resolve()),
        depot_listen=list(options.listen),
        depot_certificate=str(options.certificate.resolve()),
        depot_key=str(options.key.resolve()),
        depot_client_ca=str(options.client_ca.resolve()),
        __depot_run_dir=str(state.resolve()),
        __depot_access_log=str(state.resolve() / "access.log"),
        __depot_error_log=str(state.resolve() / "error.log"),
        depot_worker_user=worker_user(options.depot),
        __depot_workers=2,
        __depot_tls_sha256=tls.hexdigest(),
    )


class DepotService:
    """A depot served in the background.

    Args:
        state: Directory of configuration, pid and logs; made when missing.
    """

    def __init__(self, state: Path) -> None:
        self._state = state.absolute()

    def prepare(self, options: ServeOptions) -> bool:
        """Write and check the configuration.

        Returns:
            Whether anything differs from what was written before: configuration or certificates.
        """
        options.check()
        if shutil.which("nginx") is None and not Path(_nginx()).is_file():
            raise MissingToolError("serving the depot: nginx is not installed; install nginx")
        self._state.mkdir(parents=True, exist_ok=True)
        self._state.chmod(0o755)
        config = render_config(options, self._state)
        path = self._state / _CONFIG
        if path.is_file() and path.read_text() == config:
            return False
        path.write_text(config)
        done = subprocess.run(
            [_nginx(), "-t", "-q", *self._arguments()], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            path.unlink()  # so that the next run looks again
            raise InputError(f"serving the depot: nginx refuses its configuration: {done.stderr.strip()}")
        return True

    def up(self, options: ServeOptions) -> str:
        """Have it served.

        Returns:
            `already`, `restarted` or `started`.

        Raises:
            InputError: The options are wrong, or an address is taken.
            UnreachableError: It did not come up; the end of its log is in the message.
        """
        changed = self.prepare(options)
        running = self.pid()
        if running and not changed:
            return "already"
        if running:
            self.down()
        for address in options.listen:
            _refuse_taken(address)
        with (self._state / "start.log").open("wb") as log:
            child = subprocess.Popen(
                [_nginx(), *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self.pid() and all(_answers(address) for address in options.listen):
                return "restarted" if running else "started"
            if child.poll() is not None:
                break
            time.sleep(0.05)
        (self._state / _CONFIG).unlink(missing_ok=True)
        raise UnreachableError(f"serving the depot: nginx did not come up: {self._log_end()}")

    def down(self) -> bool:
        """Stop serving. Returns whether anything ran."""
        pid = self.pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while self.pid() == pid and time.monotonic() < deadline:
            _reap(pid)
            time.sleep(0.05)
        if self.pid() == pid:
            os.kill(pid, signal.SIGKILL)
        return True

    def pid(self) -> int | None:
        """The master's process, when it runs with this configuration; a stale pid file counts as none."""
        try:
            pid = int((self._state / "nginx.pid").read_text())
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(self._state / _CONFIG).encode() in line else None

    def listens(self) -> list[str]:
        """The addresses of the configuration that was last written."""
        try:
            text = (self._state / _CONFIG).read_text()
        except OSError:
            return []
        return re.findall(r"^\s+listen (\S+) ssl;", text, re.MULTILINE)

    def serve(self, options: ServeOptions) -> int:
        """Serve in the foreground until a signal comes. Returns nginx's exit status."""
        self.prepare(options)
        for address in options.listen:
            _refuse_taken(address)
        child = subprocess.Popen([_nginx(), *self._arguments()], cwd="/")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: child.send_signal(signal.SIGQUIT))
        say(f"serving {options.depot} at {', '.join(f'https://{address}' for address in options.listen)}")
        return child.wait()

    def _arguments(self) -> list[str]:
        return ["-c", str(self._state / _CONFIG), "-e", str(self._state / "error.log")]

    def _log_end(self) -> str:
        lines: list[str] = []
        for name in ("start.log", "error.log"):
            path = self._state / name
            lines += path.read_text("utf-8", "replace").splitlines()[-3:] if path.is_file() else []
        return " / ".join(dict.fromkeys(lines)) or f"its logs in {self._state} say nothing"


def _nginx() -> str:
    """Debian puts nginx where a person's PATH may not look."""
    return shutil.which("nginx") or "/usr/sbin/nginx"


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _endpoint(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    name = host.strip("[]")
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name), int(port)  # noqa: S104


def _answers(address: str) -> bool:
    try:
        with socket.create_connection(_endpoint(address), timeout=1):
            return True
    except OSError:
        return False


def _refuse_taken(address: str) -> None:
    if _answers(address):
        raise InputError(
            f"serving the depot: something else listens on {address}; stop it, or name "
            "another --listen address"
        )
