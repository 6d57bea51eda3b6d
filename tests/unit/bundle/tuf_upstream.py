# SPDX-License-Identifier: Apache-2.0
"""Runs python-tuf's own tests of its client with every byte read through Edgewright's fetcher.

    python tuf_upstream.py DIRECTORY-WITH-ITS-tests MODULE...

python-tuf's tests serve a repository from memory, or its published test data over HTTP. Here both are laid
on a stick first, and the client gets them by `StickFetcher`. Prints what ran as JSON. It is a program of its
own, because python-tuf's tests are a package called `tests`, as ours are.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

sys.path.insert(0, sys.argv[1])

import tests.repository_simulator as simulator
import tuf.ngclient.updater
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from edgewright.bundle.reader import BASE_URL, Stick, StickFetcher

Simulator = simulator.RepositorySimulator


class OnAStick(Simulator):  # type: ignore[misc, valid-type]
    """The simulated repository, whose files are put on a stick and fetched from there."""

    def __init__(self) -> None:
        super().__init__()
        self._place = tempfile.TemporaryDirectory()
        self._stick = StickFetcher(Stick(Path(self._place.name)))

    def download_bytes(self, url: str, max_length: int) -> bytes:
        return self._stick.download_bytes(self._lay(url), max_length)

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield from self._stick._fetch(self._lay(url))

    def _lay(self, url: str) -> str:
        name = urlparse(url).path.lstrip("/")
        path = Path(self._place.name) / name
        try:
            data = b"".join(super()._fetch(url))
        except DownloadHTTPError:
            path.unlink(missing_ok=True)  # so that our fetcher finds nothing and says so
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return BASE_URL + name


class FromThisDirectory(FetcherInterface):
    """Serves the published test data, which the tests copy below the working directory, without HTTP."""

    def __init__(self, **_: Any) -> None:
        self._stick = StickFetcher(Stick(Path.cwd()))

    def download_bytes(self, url: str, max_length: int) -> bytes:
        return self._stick.download_bytes(self._name(url), max_length)

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield from self._stick._fetch(self._name(url))

    @staticmethod
    def _name(url: str) -> str:
        return BASE_URL + urlparse(url).path.lstrip("/")


def main() -> None:
    """Run the modules that are named."""
    simulator.RepositorySimulator = OnAStick
    tuf.ngclient.updater.Urllib3Fetcher = FromThisDirectory  # type: ignore[misc, assignment]
    os.chdir(sys.argv[1])
    suite = unittest.TestSuite()
    for name in sys.argv[2:]:
        suite.addTests(
            unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(f"tests.{name}"))
        )
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(suite)
    print(
        json.dumps(
            {
                "ran": result.testsRun,
                "skipped": [str(test) for test, _ in result.skipped],
                "failed": {str(test): told for test, told in result.failures + result.errors},
            }
        )
    )


if __name__ == "__main__":
    main()
