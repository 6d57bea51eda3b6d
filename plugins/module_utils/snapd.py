# SPDX-License-Identifier: Apache-2.0
"""snapd over its own socket: what is installed, and changes that are waited for.

    link = Snapd()
    link.snaps()["edgewright-runtime"]["revision"]     # "x3": a file that nobody asserted; "2011": a store's
    link.install("/var/tmp/NAME.snap", dangerous=True)   # waits until snapd is done; raises when it failed

It speaks the REST API that the program `snap` speaks (snapcraft.io/docs/snapd-api; tried with snapd 2.57.6):
an answer comes in milliseconds, where each start of that program takes an emulated CPU seconds, and errors
come with their kind. A probe does not use it: it only asks, starts without this program's libraries, and is
answered by `system.System.snapd`. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import datetime
import http.client
import json
import os
import re
import socket
import time
import uuid
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils.snap_files import parts_of

SOCKET = "/run/snapd.socket"
CHUNK = 1 << 20
ANSWER_S = 120.0
"""snapd answers at once but for an upload, which it copies first."""
PAUSE_S = 0.5
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.]\d+)?(Z|[+-]\d\d:\d\d)\Z")


class SnapdError(Exception):
    """snapd refused, or does not answer.

    Attributes:
        kind: snapd's own word, such as snap-not-found, or empty.
        busy: whether another change to the snap is under way, so that asking again later may do.
    """

    def __init__(self, message: str, kind: str = "", busy: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.busy = busy


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Snapd:
    """snapd's API.

    Args:
        path: Its socket.
        change_s: Seconds that a change may take.
    """

    def __init__(self, path: str = SOCKET, change_s: float = 900.0) -> None:
        self._path = path
        self._change_s = change_s

    def snaps(self) -> Dict[str, Dict[str, Any]]:
        """Installed snaps by name, each as snapd describes it: revision, version, status, health, apps.

        Their installed components are there as well, as SNAP+COMPONENT with name, revision and status.
        """
        found: Dict[str, Dict[str, Any]] = {}
        for snap in self.call("GET", "/v2/snaps")["result"]:
            found.update({each["name"]: each for each in (snap, *parts_of(snap))})
        return found

    def connected(self) -> List[Tuple[str, str]]:
        """Connected pairs of plug and slot, each as SNAP:NAME."""
        found = self.call("GET", "/v2/connections")["result"].get("established") or []
        return [
            (
                "{}:{}".format(one["plug"]["snap"], one["plug"]["plug"]),
                "{}:{}".format(one["slot"]["snap"], one["slot"]["slot"]),
            )
            for one in found
        ]

    def wait_for_others(self, names: List[str]) -> None:
        """Wait for changes to snaps that are under way, such as those that a power cut interrupted."""
        end = time.monotonic() + self._change_s
        for name in names:
            while True:
                owner = name.partition("+")[0]
                changes = self.call("GET", f"/v2/changes?select=in-progress&for={owner}")["result"] or []
                if not changes:
                    break
                if time.monotonic() > end:
                    number, summary = changes[0].get("id"), changes[0].get("summary")
                    raise SnapdError(
                        f"change {number} ({summary}) has not ended after {self._change_s:.0f} s; see "
                        f"`snap change {number}`"
                    )
                time.sleep(PAUSE_S)

    def conf(self, key: str) -> Any:
        """A system setting, or None where it was never set."""
        try:
            return self.call("GET", f"/v2/snaps/system/conf?keys={key}")["result"].get(key)
        except SnapdError as error:
            if error.kind == "option-not-found":
                return None
            raise

    def set_conf(self, values: Dict[str, Any]) -> None:
        """Set system settings."""
        self._change("PUT", "/v2/snaps/system/conf", values)

    def ack(self, data: bytes) -> None:
        """Add assertions; each must be signed by a key that snapd knows."""
        self.call("POST", "/v2/assertions", data, "application/x.ubuntu.assertion")

    def install(self, path: str, dangerous: bool) -> None:
        """Install or refresh from a file; without `dangerous` an acknowledged assertion must fit it."""
        mark = uuid.uuid4().hex
        fields = {"action": "install", **({"dangerous": "true"} if dangerous else {})}
        head = "".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        )
        head += (
            f'--{mark}\r\nContent-Disposition: form-data; name="snap"; filename="{os.path.basename(path)}"'
        )
        head += "\r\nContent-Type: application/octet-stream\r\n\r\n"
        tail = f"\r\n--{mark}--\r\n"
        size = len(head) + os.path.getsize(path) + len(tail)

        def body() -> Iterator[bytes]:
            yield head.encode()
            with open(path, "rb") as stream:
                yield from iter(lambda: stream.read(CHUNK), b"")
            yield tail.encode()

        form = f"multipart/form-data; boundary={mark}"
        self._wait(self._begin(lambda: self.call("POST", "/v2/snaps", body(), form, size)))

    def revert(self, name: str) -> None:
        """Go back to the revision before."""
        self._change("POST", f"/v2/snaps/{name}", {"action": "revert"})

    def connect(self, plug: str, slot: str) -> None:
        """Connect a plug and a slot, each SNAP:NAME."""
        ends = {
            "plugs": [{"snap": plug.partition(":")[0], "plug": plug.partition(":")[2]}],
            "slots": [{"snap": slot.partition(":")[0], "slot": slot.partition(":")[2]}],
        }
        self._change("POST", "/v2/interfaces", {"action": "connect", **ends})

    def restart(self, services: List[str]) -> None:
        """Restart services, each SNAP.APP."""
        self._change("POST", "/v2/apps", {"action": "restart", "names": services})

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        content: str = "application/json",
        size: Optional[int] = None,
    ) -> Dict[str, Any]:
        """Ask once.

        Raises:
            SnapdError: It refuses, or does not answer.
        """
        headers = {} if body is None else {"Content-Type": content}
        if size is not None:
            headers["Content-Length"] = str(size)
        connection = _Connection(self._path)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = json.loads(connection.getresponse().read().decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SnapdError(
                f"asking snapd on {self._path} for {method} {path}: {error}; is snapd installed and running? "
                "See `systemctl status snapd`"
            ) from error
        finally:
            connection.close()
        result = answer.get("result")
        if answer.get("type") == "error":
            told = result if isinstance(result, dict) else {}
            message = str(told.get("message", answer))
            # Such a conflict is a 409, but for services a 400 without a kind: postApps of canonical/snapd
            # (daemon/api_apps.go) asks for another Go type than servicestate.Control gives it. The words
            # are those of ChangeConflictError (overlord/snapstate/conflict.go).
            busy = answer.get("status-code") == http.client.CONFLICT or " in progress" in message
            raise SnapdError(message, str(told.get("kind", "")), busy)
        return answer

    def _change(self, method: str, path: str, body: Dict[str, Any]) -> None:
        self._wait(self._begin(lambda: self.call(method, path, json.dumps(body).encode())))

    def _begin(self, ask: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
        """Begin a change once snapd has ended what it does itself to the snap.

        Such are services that a power cut stopped: that change names no snap, so `wait_for_others` does not
        see it.
        """
        end = time.monotonic() + self._change_s
        while True:
            try:
                return ask()
            except SnapdError as error:
                if not error.busy or time.monotonic() > end:
                    raise
            time.sleep(PAUSE_S)

    def _wait(self, answer: Dict[str, Any]) -> None:
        """Wait for a change; snapd undoes what it began when a task of it fails."""
        number, end = answer.get("change"), time.monotonic() + self._change_s
        if not number:
            return
        while True:
            change = self.call("GET", f"/v2/changes/{number}")["result"]
            if change.get("ready"):
                break
            if time.monotonic() > end:
                raise SnapdError(
                    f"change {number} ({change.get('summary', '')}) is {change.get('status', '')} after "
                    f"{self._change_s:.0f} s; see `snap change {number}`"
                )
            time.sleep(PAUSE_S)
        if change.get("status") != "Done":
            raise SnapdError(_short(change.get("err") or change.get("status") or "it failed"))


def seconds(moment: str) -> float:
    """Seconds of the epoch of a moment as snapd writes it, as 2026-11-21T16:38:30.5+01:00; 0 for none."""
    found = _MOMENT.match(moment)
    if not found:
        return 0.0
    told = datetime.datetime.strptime(found[1] + found[2].replace("Z", "+0000"), "%Y-%m-%dT%H:%M:%S%z")
    return told.timestamp()


def _short(text: str) -> str:
    """snapd's words on a change that failed, on one line."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())[:600]
