# SPDX-License-Identifier: Apache-2.0
"""Fetch a snap from the depot over mTLS: in pieces, going on where an earlier run was cut off.

A file is complete only when its size and SHA3-384 are those of the release; until then it has another name,
in which its digest is, so that a piece of another release's file is never gone on with.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
from typing import Any, Dict, List, Tuple

from ansible_collections.edgewright.factory.plugins.module_utils.snap_digest import of_chunks
from ansible_collections.edgewright.factory.plugins.module_utils.snapd import CHUNK

PIECE = 16 << 20
"""Bytes asked for at once: what a cut connection loses at most."""
TRIES = 3
TIMEOUT_S = 120.0
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*(\+[a-z0-9-]+)?_[a-z0-9]+\.(snap|assert|comp)\Z")


class FetchError(Exception):
    """The depot does not give the file; the message says which, and what to do."""


class Depot:
    """The depot, as a device reaches it.

    Args:
        host: Address or name.
        port: Port.
        identity: Directory with device.crt, device.key and site-root.crt.

    Raises:
        FetchError: The identity can't be read.
    """

    def __init__(self, host: str, port: int, identity: str) -> None:
        self._host, self._port = host, port
        place = {name: os.path.join(identity, name) for name in ("device.crt", "device.key", "site-root.crt")}
        try:
            self._context = ssl.create_default_context(cafile=place["site-root.crt"])
            self._context.load_cert_chain(place["device.crt"], place["device.key"])
        except (OSError, ssl.SSLError) as error:
            raise FetchError(
                f"reading the identity in {identity}: {error}; let the role identity make it first"
            ) from error

    def fetch(self, snap: Dict[str, Any], staging: str) -> str:
        """Fetch a snap; what is there whole is not fetched again.

        Args:
            snap: `name`, `filename`, `size` in bytes, `sha3_384`.
            staging: Directory for it, there already.

        Returns:
            Path of the file.

        Raises:
            FetchError: The depot does not answer, or gives another file; then nothing of it stays.
        """
        name, wanted = snap["name"], snap["sha3_384"]
        self._check_name(name, snap["filename"])
        whole = os.path.join(staging, _staged(snap))
        part = f"{whole}.part"
        if not os.path.exists(whole):
            self._complete(snap, part)
            found = _digest(part)
            if found != wanted:
                os.unlink(part)
                raise FetchError(
                    f"fetching snap {name} ({self._address(snap['filename'])}): expected sha3_384 {wanted}, "
                    f"got {found}; nothing was installed. Check the depot with `edgewright depot verify`"
                )
            os.replace(part, whole)
        return whole

    def assertions(self, name: str, filename: str) -> bytes:
        """Fetch a snap's assertions.

        Raises:
            FetchError: The depot does not give them.
        """
        self._check_name(name, filename)
        status, data, _ = self._get(name, filename, {})
        if status != http.client.OK:
            raise self._refused(name, filename, status)
        return data

    def _complete(self, snap: Dict[str, Any], part: str) -> None:
        """Add piece after piece until the file has its size."""
        name, filename, size = snap["name"], snap["filename"], snap["size"]
        tries = TRIES
        while True:
            have = os.path.getsize(part) if os.path.exists(part) else 0
            if have == size:
                return
            if have > size:
                os.unlink(part)
                continue
            last = min(have + PIECE, size) - 1
            try:
                status, data, told = self._get(name, filename, {"Range": f"bytes={have}-{last}"})
            except FetchError:
                tries -= 1
                if not tries:
                    raise
                continue
            if status == http.client.OK:  # a server that gives whole files only
                told, mode = str(len(data)), "wb"
            elif status == http.client.PARTIAL_CONTENT:
                mode = "ab"
            else:
                raise self._refused(name, filename, status)
            if told != str(size) or not data:
                if os.path.exists(part):
                    os.unlink(part)
                raise FetchError(
                    f"fetching snap {name} ({self._address(filename)}): expected {size} bytes, the depot has "
                    f"{told or 'an unknown number'}; check the depot with `edgewright depot verify`"
                )
            with open(part, mode) as stream:
                stream.write(data)

    def _get(self, name: str, filename: str, headers: Dict[str, str]) -> Tuple[int, bytes, str]:
        """Ask once: status, body, and of a piece the whole file's size."""
        link = http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=TIMEOUT_S)
        try:
            link.request("GET", f"/snaps/{filename}", headers=headers)
            answer = link.getresponse()
            told = answer.getheader("Content-Range", "").rpartition("/")[2]
            return answer.status, answer.read(), told
        except (OSError, http.client.HTTPException) as error:
            raise FetchError(
                f"fetching snap {name} ({self._address(filename)}): {error}; is the depot served, and does "
                "it trust this device's certificate? What came stays, the next run goes on with it"
            ) from error
        finally:
            link.close()

    def _refused(self, name: str, filename: str, status: int) -> FetchError:
        return FetchError(
            f"fetching snap {name} ({self._address(filename)}): expected status 200 or 206, got {status}; is "
            "this release's bundle installed in the depot?"
        )

    def _address(self, filename: str) -> str:
        return f"https://{self._host}:{self._port}/snaps/{filename}"

    @staticmethod
    def _check_name(name: str, filename: str) -> None:
        if not _NAME.match(filename):
            raise FetchError(f"fetching snap {name}: {filename!r} is no file name of a snap in a depot")


def forget_others(staging: str, snaps: List[Dict[str, Any]]) -> None:
    """Remove files of earlier releases that never were installed: they only take space."""
    kept = {_staged(snap) + end for snap in snaps for end in ("", ".part")}
    for name in os.listdir(staging):
        if name not in kept:
            os.unlink(os.path.join(staging, name))


def _staged(snap: Dict[str, Any]) -> str:
    return "{}.{}".format(snap["filename"], snap["sha3_384"][:12])


def _digest(path: str) -> str:
    with open(path, "rb") as stream:
        return of_chunks(iter(lambda: stream.read(CHUNK), b""))
