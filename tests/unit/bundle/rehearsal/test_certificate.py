# SPDX-License-Identifier: Apache-2.0
"""The closure certificate: signed, bound to one bundle, readable; and everything that it must refuse."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.bundle import dsse
from edgewright.bundle.keys import KeySet
from edgewright.bundle.rehearsal.certificate import (
    Rehearsed,
    Step,
    sign_certificate,
    summary,
    verify_certificate,
)
from edgewright.bundle.rehearsal.egress import Attempt
from edgewright.errors import IntegrityError

SUBJECTS = {"metadata/timestamp.json": "1" * 64, "targets/bundle.json": "2" * 64}
DONE = Rehearsed(
    release="label-reader 1.0.0",
    development=True,
    fingerprint="ab" * 32,
    started="2026-11-21T10:00:00Z",
    finished="2026-11-21T10:09:00Z",
    edgewright="0.1.0",
    controller="container twin, no network",
    device="VM twin, tcg",
    steps=(
        Step("install on the controller", "rehearsed", "edgewright 0.1.0", 5.2),
        Step("a GPU", "skipped", "a twin has none"),
    ),
    refused=(Attempt("controller", "dns", name="pypi.org"), Attempt("device", "tcp", "192.0.2.7", 443)),
    acceptance={"verdict": "inconclusive", "reason": "emulated"},
)
FAILED = replace(
    DONE, steps=(Step("provision the device", "failed", "linux-base is missing", 60.0),), acceptance={}
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeySet]:
    yield KeySet.develop(tmp_path_factory.mktemp("keys") / "ours")


@pytest.fixture(scope="module")
def certificate(keys: KeySet) -> bytes:
    return sign_certificate(DONE, SUBJECTS, keys.signers("targets"))


def test_what_was_signed_comes_back(keys: KeySet, certificate: bytes) -> None:
    told = verify_certificate(certificate, [keys.public("release")], SUBJECTS)
    assert told["verdict"] == "closed"
    assert told["steps"][0]["result"] == "rehearsed"
    assert summary(told) == summary(DONE.predicate())


def test_a_person_reads_verdict_steps_and_attempts() -> None:
    told = summary(DONE.predicate())
    assert told.startswith("label-reader 1.0.0: CLOSED\n")
    assert "DEVELOPMENT keys" in told
    assert "  rehearsed  install on the controller (5 s): edgewright 0.1.0" in told
    assert "  skipped    a GPU: a twin has none" in told
    assert (
        "refused: 2\n    controller: asked for the name pypi.org\n    device: tcp 192.0.2.7 port 443" in told
    )
    assert "acceptance on the twin: inconclusive: emulated" in told


def test_a_failed_step_closes_nothing(keys: KeySet) -> None:
    envelope = sign_certificate(FAILED, SUBJECTS, keys.signers("targets"))
    told = verify_certificate(envelope, [keys.public("release")], SUBJECTS)
    assert told["verdict"] == "not closed"
    assert "failed     provision the device (60 s): linux-base is missing" in summary(told)
    assert FAILED.failed is FAILED.steps[0]


def test_another_bundle_is_refused(keys: KeySet, certificate: bytes) -> None:
    other = SUBJECTS | {"targets/bundle.json": "3" * 64}
    with pytest.raises(IntegrityError, match="given for another bundle: rehearse this one"):
        verify_certificate(certificate, [keys.public("release")], other)


def test_a_changed_verdict_is_refused(keys: KeySet) -> None:
    envelope = json.loads(sign_certificate(FAILED, SUBJECTS, keys.signers("targets")))
    payload = base64.b64decode(envelope["payload"]).replace(b'"not closed"', b'"closed"')
    envelope["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(IntegrityError, match="changed after it was signed"):
        verify_certificate(json.dumps(envelope).encode(), [keys.public("release")], SUBJECTS)


def test_another_signer_is_refused(tmp_path: Path, certificate: bytes) -> None:
    stranger = KeySet.develop(tmp_path / "theirs")
    with pytest.raises(IntegrityError, match="signed by someone else"):
        verify_certificate(certificate, [stranger.public("release")], SUBJECTS)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        pytest.param(
            {"_type": "https://in-toto.io/Statement/v1", "predicateType": "x"}, "another kind", id="kind"
        ),
        pytest.param({"_type": "x"}, "another kind of statement", id="no statement"),
    ],
)
def test_another_statement_of_ours_is_no_certificate(
    keys: KeySet, statement: dict[str, str], told: str
) -> None:
    envelope = dsse.sign(json.dumps(statement).encode(), keys.signers("targets"))
    with pytest.raises(IntegrityError, match=told):
        verify_certificate(envelope, [keys.public("release")], SUBJECTS)
