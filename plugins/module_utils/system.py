# SPDX-License-Identifier: Apache-2.0
"""What a probe may do on a device: read a file, list a directory, run a reading command.

`LocalSystem` is the real device. Tests give a tree recorded from a real machine instead. Nothing
here writes: a probe never changes what it reads. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ansible_collections.edgewright.factory.plugins.module_utils import spawn

# snapd's REST API: https://snapcraft.io/docs/snapd-rest-api
SNAPD_SOCKET = "/run/snapd.socket"
SNAPD_TIMEOUT_S = 30.0
FEED_BYTES = 1024 * 1024

# What a reading command gets beside its own environment: words in English, the system's programs, and no
# authority. openssl else takes the system's beside the one it is given, and `openssl x509` reads all of them
# (140, of Debian's ca-certificates) for nothing, which is most of its time.
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "SSL_CERT_FILE": "/nonexistent",
    "SSL_CERT_DIR": "/nonexistent",
}

# Exit status of a command that did not end in time, as timeout(1) gives it.
NO_ANSWER = 124
# That of a command that is there and cannot be started, as a shell gives it.
NOT_STARTED = 126


class NoAnswerError(Exception):
    """The device was asked and did not say, so what it would have said is not known."""


class Result(NamedTuple):
    """What a command answered: exit status (127: no such program), standard output and error."""

    rc: int
    out: str
    err: str


class System:
    """The interface; each method answers None or rc 127 for what is not there, and raises nothing."""

    def read(self, path: str) -> Optional[str]:
        """Text of a file, or None when it cannot be read."""
        raise NotImplementedError

    def read_bytes(self, path: str) -> Optional[bytes]:
        """Bytes of a file, or None when it cannot be read."""
        raise NotImplementedError

    def listdir(self, path: str) -> List[str]:
        """Sorted names in a directory; empty when there is none."""
        raise NotImplementedError

    def stat(self, path: str) -> Optional[Dict[str, object]]:
        """`mode` ("0400"), `owner`, `group` and `size` of a file, or None."""
        raise NotImplementedError

    def run(self, argv: List[str], timeout_s: float = 30.0) -> Result:
        """Run a command that only reads."""
        raise NotImplementedError

    def feed(self, path: str, take: Callable[[bytes], Any]) -> bool:
        """Give a file's bytes to a function, piece by piece; whether it could be read."""
        data = self.read_bytes(path)
        if data is not None:
            take(data)
        return data is not None

    def fingerprint(self, path: str) -> Optional[List[int]]:
        """What changes with a file's bytes: inode, size, time of change. None when there is no such file."""
        raise NotImplementedError

    def snapd(self, path: str) -> Any:
        """`result` of what snapd answers to a GET, such as `/v2/system-info`; None when there is no snapd, or
        it refuses.

        Asks no store: of what is given here snapd knows the answer itself.

        Raises:
            NoAnswerError: it is there, and said nothing in time.
        """
        raise NotImplementedError


class Answering(System):
    """A device of which no answer counts as no answer: a command that did not end is an error, and named.

    Readers take what a command did not tell for what is not there, which on a busy device would be a finding.
    """

    def __init__(self, system: System) -> None:
        self.read, self.read_bytes = system.read, system.read_bytes  # type: ignore[method-assign]
        self.listdir, self.stat = system.listdir, system.stat  # type: ignore[method-assign]
        self.feed, self.fingerprint = system.feed, system.fingerprint  # type: ignore[method-assign]
        self.snapd = system.snapd  # type: ignore[method-assign]
        self._run = system.run

    def run(self, argv: List[str], timeout_s: float = 30.0) -> Result:
        """Run a command that only reads.

        Raises:
            NoAnswerError: it did not end in time, or could not be started though it is there.
        """
        done = self._run(argv, timeout_s)
        if done.rc in (NO_ANSWER, NOT_STARTED) and not done.out:
            words = " ".join(argv[:4]) + (" ..." if len(argv) > 4 else "")
            raise NoAnswerError("`%s`: %s, so what it would tell is not known" % (words, done.err.strip()))
        return done


class LocalSystem(System):
    """The machine this runs on."""

    def read_bytes(self, path: str) -> Optional[bytes]:
        try:
            with open(path, "rb") as stream:
                return stream.read()
        except OSError:
            return None

    def read(self, path: str) -> Optional[str]:
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace")

    def listdir(self, path: str) -> List[str]:
        try:
            return sorted(os.listdir(path))
        except OSError:
            return []

    def stat(self, path: str) -> Optional[Dict[str, object]]:
        import grp
        import pwd

        try:
            info = os.stat(path)
        except OSError:
            return None
        try:
            owner = pwd.getpwuid(info.st_uid).pw_name
        except KeyError:
            owner = str(info.st_uid)
        try:
            group = grp.getgrgid(info.st_gid).gr_name
        except KeyError:
            group = str(info.st_gid)
        return {
            "mode": "%04o" % (info.st_mode & 0o7777),
            "owner": owner,
            "group": group,
            "size": info.st_size,
        }

    def run(self, argv: List[str], timeout_s: float = 30.0) -> Result:
        try:
            status, out, err = spawn.run(argv, dict(os.environ, **_ENVIRONMENT), timeout_s)
        except FileNotFoundError:
            return Result(127, "", "no such program: " + argv[0])
        except spawn.TimeUpError:
            return Result(NO_ANSWER, "", "no answer within %g s" % timeout_s)
        except OSError as error:
            return Result(NOT_STARTED, "", "it cannot be started: %s" % error)
        return Result(status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def feed(self, path: str, take: Callable[[bytes], Any]) -> bool:
        try:
            with open(path, "rb") as stream:
                for piece in iter(lambda: stream.read(FEED_BYTES), b""):
                    take(piece)
        except OSError:
            return False
        return True

    def fingerprint(self, path: str) -> Optional[List[int]]:
        try:
            info = os.stat(path)
        except OSError:
            return None
        return [info.st_ino, info.st_size, info.st_mtime_ns]

    def snapd(self, path: str) -> Any:
        import json
        import socket

        request = "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n" % path
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(SNAPD_TIMEOUT_S)
            link.connect(SNAPD_SOCKET)
            link.sendall(request.encode())
            data = b""
            while True:
                more = link.recv(65536)
                if not more:
                    break
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            answer = json.loads(body.decode("utf-8", "replace")) if head.split(b" ")[1:2] == [b"200"] else {}
        except socket.timeout as error:
            raise NoAnswerError("snapd: no answer to %s within %g s" % (path, SNAPD_TIMEOUT_S)) from error
        except (OSError, ValueError):
            return None
        finally:
            link.close()
        return answer.get("result") if isinstance(answer, dict) and answer.get("type") == "sync" else None
