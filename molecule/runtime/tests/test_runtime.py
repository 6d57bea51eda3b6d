# SPDX-License-Identifier: Apache-2.0
"""What a device serves, to whom, and from where, asked without Edgewright's own probe."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

UNIT = "edgewright-runtime-a.service"
IDENTITY = "/etc/edgewright/identity"

# Runs on the device, which has Python and no curl: prints the status and the body of one request.
ASK = f"""
import http.client, json, ssl, sys
path, cert, key = sys.argv[1:4]
context = ssl.create_default_context(cafile="{IDENTITY}/site-root.crt")
context.check_hostname = False
if cert:
    context.load_cert_chain(cert, key)
connection = http.client.HTTPSConnection("127.0.0.1", 8443, timeout=60, context=context)
try:
    connection.request("GET", path)
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode()]))
except (OSError, http.client.HTTPException) as error:
    print(json.dumps([0, str(error)]))
"""


def ask(
    host: Host, path: str, cert: str = f"{IDENTITY}/device.crt", key: str = f"{IDENTITY}/device.key"
) -> Any:
    return json.loads(host.check_output("python3 -c %s %s %s %s", ASK, path, cert, key))


@pytest.fixture(scope="module")
def pid(host: Host) -> str:
    return str(host.check_output("podman container inspect --format {{.State.Pid}} edgewright-runtime-a"))


def test_unit_runs_now_and_at_each_boot(host: Host) -> None:
    shown = host.check_output(
        f"systemctl show --property=ActiveState,UnitFileState,Slice {UNIT}"
    ).splitlines()
    assert sorted(shown) == ["ActiveState=active", "Slice=edgert.slice", "UnitFileState=enabled"]


def test_server_is_shut_in(host: Host, pid: str) -> None:
    group = host.check_output(f"cat /proc/{pid}/cgroup").strip()
    assert group.startswith(f"0::/edgert.slice/{UNIT}/")
    status = dict(line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines())
    assert status["Uid"].split() == ["65532"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert (
        status["Cpus_allowed_list"]
        == host.check_output("cat /sys/fs/cgroup/edgert.slice/cpuset.cpus").strip()
    )
    links = host.check_output(f"cat /proc/{pid}/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in links] == ["lo"]
    mounts = [line.split() for line in host.check_output(f"cat /proc/{pid}/mounts").splitlines()]
    options = {fields[1]: fields[3].split(",") for fields in mounts}
    assert "ro" in options["/"]
    assert "ro" in options["/models/label-reader"]


def test_only_nginx_reaches_the_socket(host: Host) -> None:
    directory = host.file("/run/edgewright/runtime/a")
    assert (directory.mode, directory.uid, directory.group) == (0o710, 65532, "www-data")
    assert host.run("runuser -u nobody -- test -e /run/edgewright/runtime/a/server.sock").rc != 0


def test_a_device_may_ask_the_model_and_not_the_metrics(host: Host) -> None:
    status, body = ask(host, "/v2/models/label-reader")
    assert status == 200
    assert json.loads(body)["name"] == "label-reader"
    status, body = ask(host, "/metrics")
    assert (status, json.loads(body)) == (
        403,
        {"error": "the role of this certificate may not read the metrics"},
    )
    assert ask(host, "/")[0] == 404


def test_strangers_are_refused(host: Host) -> None:
    assert ask(host, "/v2/health/ready", "", "")[0] in (0, 400)
    subject = "/CN=stranger/OU=operator"
    host.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj %s"
        " -keyout /run/stranger.key -out /run/stranger.crt",
        subject,
    )
    try:
        status, body = ask(host, "/v2/health/ready", "/run/stranger.crt", "/run/stranger.key")
    finally:
        host.check_output("rm -f /run/stranger.key /run/stranger.crt")
    assert status in (0, 400)
    assert "ready" not in body


def test_nothing_is_served_without_tls_or_by_default(host: Host) -> None:
    assert not host.file("/etc/nginx/sites-enabled/default").exists
    listening = host.check_output("ss -Hltn").splitlines()
    ports = {line.split()[3].rsplit(":", 1)[1] for line in listening}
    assert "8443" in ports
    assert "80" not in ports
