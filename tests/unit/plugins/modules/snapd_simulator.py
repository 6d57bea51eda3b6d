# SPDX-License-Identifier: Apache-2.0
"""A simulator of snapd's socket, and a depot with client certificates, for tests of the module snaps.

The simulator answers as snapd 2.57.6 did on a twin: same paths, envelopes and kinds of errors. It installs
by copying the file to where snapd keeps it, so that the module's digests are read from real files.
"""

from __future__ import annotations

import http.server
import json
import re
import socketserver
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.integration.depot_site import Authority

__all__ = ["Simulator", "TlsDepot"]


@dataclass
class Simulator:
    """snapd's state, and what shall go wrong.

    Attributes:
        directory: keeps the socket, and the snaps' files in `snaps/`.
        installed: snaps by name, as the API shows them.
        connected: pairs of plug and slot.
        conf: system settings.
        calls: what changed something, in order.
        acked: assertions that were taken.
        health: what a snap's health is after an install, by the text of its file.
        fail_install: snapd's words on an install of a file with this text.
        refuse_ack: snapd's words on assertions.
        sets: validation sets in snapd's database, as ACCOUNT/NAME=SEQUENCE, with the assertion's revision;
            one is there once an assertion of that name was acknowledged.
        interrupted: how often a change of a snap is still found under way.
        conflicts: how often snapd is still busy with a snap when a change of it is to begin.
        clock: seconds of the epoch on the device; each change takes one.
        started: when the runtime's services were started.
    """

    directory: Path
    installed: dict[str, dict[str, Any]] = field(default_factory=dict)
    connected: list[tuple[str, str]] = field(default_factory=list)
    conf: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    acked: list[bytes] = field(default_factory=list)
    health: dict[bytes, dict[str, str]] = field(default_factory=dict)
    fail_install: dict[bytes, str] = field(default_factory=dict)
    refuse_ack: str = ""
    sets: dict[str, int] = field(default_factory=dict)
    interrupted: dict[str, int] = field(default_factory=dict)
    conflicts: int = 0
    clock: int = 1_800_000_000
    started: int = 0
    _changes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The socket."""
        return self.directory / "snapd.socket"

    @property
    def snaps(self) -> Path:
        """Where files are kept."""
        return self.directory / "snaps"

    def serve(self) -> socketserver.ThreadingUnixStreamServer:
        """Start to answer; the caller shuts the server down."""
        self.snaps.mkdir(parents=True, exist_ok=True)
        simulator = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def address_string(self) -> str:
                return "socket"

            def log_message(self, *_args: object) -> None:
                """Keep the test's output clean."""

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Transfer-Encoding"):
                    raise AssertionError("snapd wants a length")
                told = json.dumps(simulator.answer(self.command, self.path, body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server looks for these names

        server = socketserver.ThreadingUnixStreamServer(str(self.path), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """The envelope that snapd sends."""
        parts = urlsplit(path)
        found = re.fullmatch(r"/v2/changes/(\d+)", parts.path)
        if method == "GET" and found:
            return _sync(self._changes[int(found[1])])
        reader = {
            "/v2/changes": lambda: _sync(self._in_progress(parse_qs(parts.query)["for"][0])),
            "/v2/snaps": lambda: _sync(list(self.installed.values())),
            "/v2/connections": lambda: _sync({"established": [_pair(*pair) for pair in self.connected]}),
            "/v2/assertions/validation-set": lambda: _sync(self._known_set(parse_qs(parts.query))),
            "/v2/snaps/system/conf": lambda: self._setting(parse_qs(parts.query)["keys"][0]),
        }
        if method == "GET":
            return reader[parts.path]()
        if parts.path == "/v2/assertions":
            if self.refuse_ack:
                return _error(self.refuse_ack)
            self.acked.append(body)
            self.sets |= {key.decode(): 0 for key in re.findall(rb"validation-set (\S+)", body)}
            return _sync({})
        if self.conflicts:
            self.conflicts -= 1
            message = 'snap "x" has "service-control" change in progress'
            if parts.path == "/v2/apps":  # as snapd 2.57.6 does; Ubuntu Core's journey asks the real one
                return _error(message)
            return _error(message, "snap-change-conflict", 409)
        if parts.path == "/v2/snaps":
            return self._change(self._install(body))
        wish = json.loads(body)
        self.calls.append(f"{method} {parts.path} {json.dumps(wish, sort_keys=True)}")
        if parts.path == "/v2/snaps/system/conf":
            self.conf |= wish
        elif parts.path == "/v2/interfaces":
            plug, slot = wish["plugs"][0], wish["slots"][0]
            self.connected.append((f"{plug['snap']}:{plug['plug']}", f"{slot['snap']}:{slot['slot']}"))
        elif wish.get("action") == "restart":
            self.started = self.tick()
        elif wish.get("action") == "revert":
            snap = self.installed[parts.path.rpartition("/")[2]]
            snap["install-date"] = self._moment()
            number = int(snap["revision"][1:]) - 1
            snap |= {"revision": f"x{number}", "health": {"status": "okay"}}
        return self._change("")

    def _in_progress(self, name: str) -> list[dict[str, Any]]:
        """The snap's changes that an earlier run left; each is asked for twice before it ends."""
        left = self.interrupted.get(name, 0)
        self.interrupted[name] = max(left - 1, 0)
        return [{"id": "9", "summary": f"Refresh {name}"}] if left else []

    def _known_set(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        key = "{account-id[0]}/{name[0]}={sequence[0]}".format(**query)
        revision = self.sets.get(key)
        headers: dict[str, Any] = {
            "type": "validation-set",
            **({"revision": str(revision)} if revision else {}),
        }
        return [] if revision is None else [{"headers": headers}]

    def tick(self) -> int:
        """Another second of the device's clock."""
        self.clock += 1
        return self.clock

    def _moment(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S.5Z", time.gmtime(self.tick()))

    def _setting(self, key: str) -> dict[str, Any]:
        if key not in self.conf:
            return _error(f'snap "core" has no "{key}" configuration option', "option-not-found")
        return _sync({key: self.conf[key]})

    def _install(self, body: bytes) -> str:
        found = re.search(
            rb'name="snap"; filename="([a-z0-9+-]+)_[^"]*"\r\n[^\r]*\r\n\r\n(.*)\r\n--', body, re.DOTALL
        )
        assert found, body[:400]
        name, data = found[1].decode(), found[2]
        how = "dangerous" if b'name="dangerous"\r\n\r\ntrue' in body else "asserted"
        self.calls.append(f"install {name} {how}")
        if "+" in name:
            return self._install_component(name, data)
        if "model" not in name:
            self.started = self.tick()
        if data in self.fail_install:
            return self.fail_install[data]
        number = int(self.installed.get(name, {"revision": "x0"})["revision"][1:]) + 1
        (self.snaps / f"{name}_x{number}.snap").write_bytes(data)
        self.installed[name] = {
            "name": name,
            "revision": f"x{number}",
            "status": "active",
            "install-date": self._moment(),
            "health": self.health.get(data, {"status": "okay"}),
            "apps": [{"name": "server", "daemon": "simple", "active": True}] if "model" not in name else [],
        }
        return ""

    def _install_component(self, name: str, data: bytes) -> str:
        """As snapd from 2.67 on: it is listed with its snap, and mounted from a file of its own."""
        owner, _, part = name.partition("+")
        if owner not in self.installed:
            return f'cannot install component "{name}": snap "{owner}" is not installed'
        (self.snaps / f"{name}_12.comp").write_bytes(data)
        others = [each for each in self.installed[owner].get("components", []) if each["name"] != part]
        self.installed[owner]["components"] = [*others, {"name": part, "revision": "12"}]
        return ""

    def _change(self, fault: str) -> dict[str, Any]:
        status = (
            {"ready": True, "status": "Error", "err": fault} if fault else {"ready": True, "status": "Done"}
        )
        self._changes.append(status)
        return {"type": "async", "status-code": 202, "change": str(len(self._changes) - 1), "result": None}


def _sync(result: Any) -> dict[str, Any]:
    return {"type": "sync", "status-code": 200, "result": result}


def _error(message: str, kind: str = "", status: int = 400) -> dict[str, Any]:
    return {"type": "error", "status-code": status, "result": {"message": message, "kind": kind}}


def _pair(plug: str, slot: str) -> dict[str, Any]:
    (one, first), (two, second) = plug.split(":"), slot.split(":")
    return {"plug": {"snap": one, "plug": first}, "slot": {"snap": two, "slot": second}}


class TlsDepot:
    """A depot over TLS that asks for a certificate of the site, with ranges as nginx gives them.

    Attributes:
        files: served files by name.
        asked: names and ranges, in order.
        cut_after: connections are cut off after so many answers; None for never.
    """

    def __init__(self, directory: Path) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut_after: int | None = None
        authority = Authority(directory / "authority")
        certificate, key = authority.leaf("controller")
        self.identity = directory / "identity"
        self.identity.mkdir()
        chain, own = authority.leaf("device")
        chain.rename(self.identity / "device.crt")
        own.rename(self.identity / "device.key")
        (self.identity / "site-root.crt").write_bytes(authority.root.read_bytes())
        depot = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_args: object) -> None:
                """Keep the test's output clean."""

            def do_GET(self) -> None:
                depot.give(self)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority.root)
        context.verify_mode = ssl.CERT_REQUIRED
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def give(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        name = request.path.removeprefix("/snaps/")
        wanted = request.headers.get("Range", "")
        self.asked.append(f"{name} {wanted}".strip())
        if self.cut_after is not None and len(self.asked) > self.cut_after:
            request.close_connection = True
            request.connection.close()
            return
        data = self.files.get(name)
        if data is None:
            request.send_error(404)
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        piece = data[int(found[1]) : int(found[2]) + 1] if found else data
        request.send_response(206 if found else 200)
        if found:
            request.send_header("Content-Range", f"bytes {found[1]}-{found[2]}/{len(data)}")
        request.send_header("Content-Length", str(len(piece)))
        request.end_headers()
        request.wfile.write(piece)
