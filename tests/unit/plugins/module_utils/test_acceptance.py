# SPDX-License-Identifier: Apache-2.0
"""How the receipt of an acceptance is read."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import acceptance as reader
from ansible_collections.edgewright.factory.plugins.module_utils.system import System

SCOPE: dict[str, Any] = {"at": {"receipt": "/receipt.json"}}
NONE = {"accepted_for": None, "verdict": None, "record": None}
RECEIPTS = {
    "good": (
        '{"schema": "edgewright.receipt/v1", "accepted_for": "ab", "verdict": "pass",'
        ' "record": "x.json", "more": 1}',
        {"accepted_for": "ab", "verdict": "pass", "record": "x.json"},
    ),
    "none": (None, NONE),
    "cut short": ('{"schema": "edgewright.rec', NONE),
    "empty": ("", NONE),
    "other schema": ('{"schema": "edgewright.receipt/v2", "accepted_for": "ab", "verdict": "pass"}', NONE),
    "list": ("[]", NONE),
}


class Device(System):
    """A device with one file."""

    def __init__(self, receipt: str | None) -> None:
        self.receipt = receipt

    def read(self, path: str) -> str | None:
        assert path == "/receipt.json"
        return self.receipt


@pytest.mark.parametrize(("text", "have"), RECEIPTS.values(), ids=RECEIPTS.keys())
def test_read(text: str | None, have: dict[str, Any]) -> None:
    assert reader.read(Device(text), SCOPE) == have


def test_no_scope_reads_nothing() -> None:
    assert reader.read(Device("{}"), {}) == {}
