# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the runtime's tests: packages written to a temporary directory, and a served process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Some tests import onnxruntime themselves, before the runtime's backend can say this.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HERE = Path(__file__).resolve().parent
for _path in (_HERE.parent / "src", _HERE):
    if str(_path) not in sys.path:
        sys.path.insert(0, str(_path))

from runtime_support.models import write_gather, write_power, write_sum, write_types  # noqa: E402
from runtime_support.serving import BODY_LIMIT, Served  # noqa: E402


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server with the models sum (versions 1 and 2), types and gather; bodies up to BODY_LIMIT bytes."""
    models = tmp_path_factory.mktemp("models")
    write_sum(models)
    write_sum(models, directory="sum-2", version="2")
    write_types(models)
    write_gather(models)
    with Served(models, "--max-request-bytes", str(BODY_LIMIT), "--threads", "1") as server:
        yield server
        assert server.process.poll() is None, server.lines
        # Whatever the tests sent, the server never met a fault of its own.
        assert not [line for line in server.lines if "Traceback" in line or "Exception" in line]


@pytest.fixture(scope="session")
def served_power(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the slow model only."""
    models = tmp_path_factory.mktemp("power")
    write_power(models)
    return models
