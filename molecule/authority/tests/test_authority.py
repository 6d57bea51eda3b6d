# SPDX-License-Identifier: Apache-2.0
"""What openssl says of the authority that the role made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import testinfra

LOCAL = testinfra.get_host("local://")
AUTHORITY = Path(os.environ["EDGEWRIGHT_STATE_DIR"]) / "scenario-authority"
CLIENTS = {"controller": "controller", "operator": "operator", "application": "application"}


def openssl(arguments: str) -> str:
    """Output of openssl in the authority's directory; fails when it fails."""
    return str(LOCAL.check_output(f"cd {AUTHORITY} && openssl {arguments}"))


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("purpose", ["sslclient", "sslserver"])
def test_leaves_verify_for_their_purpose_only(name: str, purpose: str) -> None:
    leaf = f"clients/{name}.crt"
    done = LOCAL.run(
        f"cd {AUTHORITY} && openssl verify -CAfile root.crt -untrusted {leaf} -purpose {purpose} {leaf}"
    )
    assert (done.rc == 0) is (purpose == "sslclient" or name == "controller")


@pytest.mark.parametrize("name", CLIENTS)
def test_a_leaf_fits_its_key_and_says_its_role(name: str) -> None:
    assert openssl(f"x509 -in clients/{name}.crt -noout -pubkey") == openssl(
        f"pkey -in clients/{name}.key -pubout"
    )
    subject = openssl(f"x509 -in clients/{name}.crt -noout -subject -nameopt RFC2253")
    assert subject == f"subject=CN={name},OU={CLIENTS[name]},O=Edgewright site"


@pytest.mark.parametrize(("name", "length"), [("root", 1), ("issuing", 0)])
def test_an_authority_can_sign_and_its_depth_is_limited(name: str, length: int) -> None:
    shown = openssl(f"x509 -in {name}.crt -noout -text")
    assert f"CA:TRUE, pathlen:{length}" in shown
    assert "Certificate Sign, CRL Sign" in shown
    assert "NIST CURVE: P-256" in shown


def test_validity_began_before_now() -> None:
    for name in ("root", "issuing", "clients/controller"):
        assert (
            LOCAL.run(
                f"cd {AUTHORITY} && openssl verify -attime $(date -d '-23 hours' +%s) -CAfile root.crt"
                f" -untrusted issuing.crt {name}.crt"
            ).rc
            == 0
        )


def test_keys_are_for_the_owner_and_the_chain_for_all() -> None:
    for key in AUTHORITY.rglob("*.key"):
        assert LOCAL.file(str(key)).mode == 0o600
    assert LOCAL.file(str(AUTHORITY)).mode == 0o711
    assert LOCAL.file(str(AUTHORITY / "clients")).mode == 0o700
    assert LOCAL.file(str(AUTHORITY / "chain.crt")).mode == 0o644
    assert openssl("verify -CAfile root.crt -untrusted chain.crt clients/operator.crt").endswith("OK")


def test_the_controller_answers_to_its_addresses() -> None:
    assert openssl("x509 -in clients/controller.crt -noout -checkip 10.213.0.1").endswith(
        "does match certificate"
    )
    assert "does NOT match" in openssl("x509 -in clients/controller.crt -noout -checkip 10.9.9.9")
