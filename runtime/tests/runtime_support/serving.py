# SPDX-License-Identifier: Apache-2.0
"""Starts the real server as a process of its own, and talks plain HTTP to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

BODY_LIMIT = 200_000  # bytes; of the server that most tests share
SOURCE = Path(__file__).resolve().parents[2] / "src"
_READY = re.compile(r"ready on (?:http://([^:]+):(\d+)|unix:(\S+))")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Served:
    """A running server. Use as a context manager; `start_timeout` is in seconds."""

    def __init__(
        self, models: Path, *options: str, env: dict[str, str] | None = None, listen: bool = True
    ) -> None:
        where = ["--host", "127.0.0.1", "--port", "0"] if listen else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgewright_runtime", "--models", str(models), *where, *options],
            env={**os.environ, "PYTHONPATH": str(SOURCE), **(env or {})},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.address: tuple[str, int] | str | None = None
        self._told = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            match = _READY.search(line)
            if match:
                self.address = match[3] or (match[1], int(match[2]))
                self._told.set()
        self._told.set()

    def __enter__(self) -> Served:
        assert self._told.wait(60), self.lines
        assert self.address is not None, self.lines
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.end()

    def end(self, seconds: float = 60) -> int:
        """Wait for the end; the exit status."""
        status = self.process.wait(seconds)
        self._reader.join(10)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return status

    @property
    def url(self) -> str:
        """`HOST:PORT`, as the Triton client wants it."""
        assert isinstance(self.address, tuple)
        return f"{self.address[0]}:{self.address[1]}"

    def connection(self, timeout: float = 30) -> http.client.HTTPConnection:
        """A new connection."""
        if isinstance(self.address, str):
            return UnixConnection(self.address, timeout)
        assert self.address is not None
        return http.client.HTTPConnection(*self.address, timeout=timeout)

    def ask(
        self, method: str, path: str, body: bytes | Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """One request on a connection of its own; a body that is no bytes is sent as JSON.

        Returns:
            Status, body (JSON read if it is JSON), headers with lower-case names.
        """
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = self.connection()
        try:
            connection.request(method, path, raw, headers or {})
            answer = connection.getresponse()
            content: Any = answer.read()
            found = {key.lower(): value for key, value in answer.getheaders()}
        finally:
            connection.close()
        if found.get("content-type", "").startswith("application/json"):
            content = json.loads(content)
        return answer.status, content, found


def run_once(models: Path, *options: str) -> tuple[int, list[str]]:
    """Run the command until it ends by itself; exit status and the lines of stderr."""
    server = Served(models, *options, listen=False)
    try:
        return server.end(), server.lines
    finally:
        if server.process.poll() is None:
            server.process.kill()
