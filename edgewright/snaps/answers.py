# SPDX-License-Identifier: Apache-2.0
"""Answers what `snap prepare-image` asks a store for, from the bundle's own assertions, with no network.

    with assertion_service(assertions) as service:
        subprocess.run(["snap", "prepare-image", ...], env={**os.environ, **service.environment})
        service.refused             # what else was asked for: nothing may have been

`snap prepare-image` fetches each snap's assertions even where the snap itself is a local file, and fails
without a store. It takes the store's address from the environment (SNAPPY_FORCE_SAS_URL and
SNAPPY_FORCE_API_URL; snapd 2.57.6, store/store.go: assertsURL, apiURL), so that this service, on the loopback
address of this machine only, can stand there. It knows the assertions it was given and says "not found" to
all else; what it answers is not trusted: snap checks every signature up to its own root key.
"""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from edgewright.snaps.assertion import PRIMARY_KEYS, Assertion

__all__ = ["AssertionService", "assertion_service"]

_PREFIX = "/v2/assertions/"
_MEDIA_TYPE = "application/x.ubuntu.assertion"  # asserts/asserts.go: MediaType
_DEFAULT_PROVENANCE = "global-upload"


@dataclass
class AssertionService:
    """A running service.

    Attributes:
        environment: Variables for `snap`, so that it asks here.
        answered: Paths that were asked for and known.
        missing: Assertions that were asked for and are not known.
        refused: Anything else that was asked for.
    """

    environment: Mapping[str, str]
    answered: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@contextmanager
def assertion_service(assertions: Iterable[Assertion]) -> Iterator[AssertionService]:
    """Serve assertions on a free port of 127.0.0.1 until the block ends."""
    known = {_path(each): each.encoded() for each in assertions}
    notes = AssertionService({})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urllib.parse.urlsplit(self.path).path
            found = known.get(path)
            if found is not None:
                notes.answered.append(path)
                self._answer(200, _MEDIA_TYPE, found)
                return
            (notes.missing if path.startswith(_PREFIX) else notes.refused).append(path)
            told = {"status": 404, "title": "not found", "detail": "not in this bundle"}
            told["error-list"] = [{"code": "not-found", "message": "not in this bundle"}]
            self._answer(404, "application/problem+json", json.dumps(told).encode())

        def do_POST(self) -> None:
            notes.refused.append(urllib.parse.urlsplit(self.path).path)
            self._answer(403, "application/problem+json", b'{"status": 403, "title": "no store here"}')

        def _answer(self, status: int, kind: str, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: what was asked for is noted."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here = f"http://127.0.0.1:{server.server_address[1]}/"
        notes.environment = {
            "SNAPPY_FORCE_SAS_URL": here,
            "SNAPPY_FORCE_API_URL": here,
            "NO_PROXY": "127.0.0.1",
        }
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield notes
        finally:
            server.shutdown()
            thread.join()


def _path(each: Assertion) -> str:
    """The path under which a store has an assertion: its primary key, without what may be left out."""
    key = [each.text(name) for name in PRIMARY_KEYS[each.type]]
    if PRIMARY_KEYS[each.type][-1] == "provenance" and key[-1] == _DEFAULT_PROVENANCE:
        key.pop()
    return _PREFIX + "/".join([each.type, *(urllib.parse.quote(part, safe="") for part in key)])
