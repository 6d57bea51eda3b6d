# SPDX-License-Identifier: Apache-2.0
"""What the service gives to whom, asked with the twin's own Python."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

STATE = os.environ["EDGEWRIGHT_STATE_DIR"]
IDENTITY = "/etc/edgewright/identity"

# Arguments: path, and "with" or "without" a certificate. Prints status and the first bytes of the body.
ASK = f"""
import http.client, ssl, sys
context = ssl.create_default_context(cafile="{IDENTITY}/site-root.crt")
if sys.argv[2] == "with":
    context.load_cert_chain("{IDENTITY}/device.crt", "{IDENTITY}/device.key")
connection = http.client.HTTPSConnection("127.0.0.1", 8443, context=context, timeout=20)
connection.request("GET", sys.argv[1])
answer = connection.getresponse()
print(answer.status, answer.read(40000).decode("utf-8", "replace"))
"""


def ask(host: Any, path: str, certificate: str = "with") -> tuple[int, str]:
    """Status and body of a request to the service."""
    said = host.check_output(f"python3 -c {shlex.quote(ASK)} {path} {certificate}")
    status, _, body = said.partition(" ")
    return int(status), body


def test_the_service_runs_and_comes_back_at_boot(host: Any) -> None:
    service = host.service("edgewright-depot.service")
    assert service.is_running
    assert service.is_enabled
    assert host.check_output("systemctl show -p NRestarts --value edgewright-depot.service") == "1"


def test_a_device_gets_the_depot(host: Any) -> None:
    status, body = ask(host, "/depot.json")
    assert status == 200
    assert json.loads(body)["schema"] == "edgewright.depot/v1"
    status, body = ask(host, "/apt/dists/bookworm/InRelease")
    assert (status, body.startswith("-----BEGIN PGP SIGNED MESSAGE-----")) == (200, True)


def test_nobody_else_gets_anything(host: Any) -> None:
    for path in ("/depot.json", "/apt/dists/bookworm/InRelease", "/nothing"):
        assert ask(host, path, "without")[0] == 400


def test_what_is_not_there_is_404(host: Any) -> None:
    assert ask(host, "/apt/pool/nothing.deb")[0] == 404
    assert ask(host, "/../authority/issuing.key")[0] in (400, 404)


def test_workers_are_not_root(host: Any) -> None:
    main = host.check_output("systemctl show -p MainPID --value edgewright-depot.service")
    users = set(host.check_output(f"ps -o user= --ppid {main}").split())
    assert users == {"www-data"}
