# SPDX-License-Identifier: Apache-2.0
"""Listening and stopping: the socket, uvicorn on it, and SIGTERM.

On SIGTERM or SIGINT readiness turns 503 and further inferences are refused with 503; those in flight
finish, at most `stop_timeout` seconds long; then the process ends with status 0. It listens until the last
is done, so that who asks for readiness in the meantime is told.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from edgewright_runtime.config import ServerConfig
from edgewright_runtime.errors import StartError
from edgewright_runtime.work import Work

__all__ = ["address_of", "listen", "serve"]

# Seconds an idle connection is kept: longer than nginx keeps its own to an upstream (60 s), so that the
# server never closes one that nginx is just about to use.
_KEEP_ALIVE = 75
_BACKLOG = 512


def listen(config: ServerConfig) -> socket.socket:
    """The listening socket. A socket file gets mode 0666: its directory decides who reaches it.

    A socket file that nobody answers on, left by a process that was killed, is replaced.

    Raises:
        StartError: the address is in use, or may not be had.
    """
    if config.socket is None:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        # With the protocol named, asyncio knows it for TCP and turns off the delay of small packets (40 ms).
        server = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((config.host, config.port))
        except OSError as error:
            server.close()
            raise StartError(f"cannot listen on {config.host} port {config.port}: {error.strerror}") from None
    else:
        _remove_stale(config.socket)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o111)  # 0777 less this is 0666, from the file's first moment
        try:
            server.bind(str(config.socket))
        except OSError as error:
            server.close()
            raise StartError(
                f"cannot make the socket {config.socket}: {error.strerror}; its directory must exist and be "
                f"writable for uid {os.geteuid()}"
            ) from None
        finally:
            os.umask(before)
    server.listen(_BACKLOG)  # from here on a client waits instead of being refused
    server.setblocking(False)
    return server


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # nothing there; or no way to look, which bind reports better
    if not stat.S_ISSOCK(mode):
        raise StartError(f"cannot make the socket {path}: another kind of file is there; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise StartError(f"cannot make the socket {path}: a socket is there, and {error}") from None
        else:
            raise StartError(
                f"cannot make the socket {path}: another server answers on it; stop that one first"
            )
    path.unlink(missing_ok=True)


def address_of(server: socket.socket, config: ServerConfig) -> str:
    """Where the server listens, for a person: `unix:PATH` or a URL with the real port."""
    if config.socket is not None:
        return f"unix:{config.socket}"
    host, port = server.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn, but a signal first lets the work in flight end."""

    def __init__(
        self, config: uvicorn.Config, work: Work, stop_timeout: float, say: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._work = work
        self._stop_timeout = stop_timeout
        self._say = say
        self._deadline: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 # uvicorn's signature
        """Called by uvicorn's signal handler; uvicorn's own would stop listening at once."""
        self._work.stopping = True
        if self._deadline is None:
            self._deadline = time.monotonic() + self._stop_timeout

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second; True ends its main loop."""
        if self._deadline is not None:
            if self._work.in_flight == 0:
                return True
            if time.monotonic() > self._deadline:
                self._say(
                    f"stopping: gave up on {self._work.in_flight} requests after {self._stop_timeout:g} s"
                )
                self.force_exit = True
                logging.disable(logging.ERROR)  # uvicorn would log each request that is given up as a fault
                return True
        return await super().on_tick(counter)


def serve(
    app: Starlette, config: ServerConfig, work: Work, listening: socket.socket, say: Callable[[str], None]
) -> bool:
    """Serve until a signal.

    Args:
        app: the application.
        config: addresses and limits.
        work: what is asked for the requests in flight.
        listening: from `listen`.
        say: takes one line for the log.

    Returns:
        Whether every request in flight was finished.
    """
    server = _Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, round(config.stop_timeout)),
        ),
        work,
        config.stop_timeout,
        say,
    )
    # From here on a signal means an orderly stop, also while uvicorn starts: raising in the first steps of
    # its event loop would end in a traceback. uvicorn then sets the same handler itself.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    try:
        server.run(sockets=[listening])
    finally:
        work.close()
        if config.socket is not None:
            config.socket.unlink(missing_ok=True)
    return not server.force_exit
