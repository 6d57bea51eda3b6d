# SPDX-License-Identifier: Apache-2.0
"""The runtime area's want and drift, and the text of its files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgewright.device import runtime
from edgewright.device.runtime_files import FrontendText, frontend_text, generation
from edgewright.errors import InputError
from tests.unit.device.runtime_inputs import MODEL_DIGEST, PROFILE, RUNTIME_DIGEST, VARIABLES, lock


def want(variables: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return runtime.want({**VARIABLES, **(variables or {})}, PROFILE, lock(**changes))


def test_want() -> None:
    wanted = want()
    assert wanted["image"] == RUNTIME_DIGEST
    assert wanted["models"] == {"label-reader": MODEL_DIGEST}
    assert wanted["packages"] == {"podman": "4.3.1", "crun": "1.8.1", "nginx": "1.22.1"}
    assert (wanted["slice"], wanted["cpus"]) == ("edgert.slice", "2-3")
    assert wanted["at"]["references"] == {
        "runtime": f"10.0.2.100:8443/edgewright/runtime@{RUNTIME_DIGEST}",
        "label-reader": f"10.0.2.100:8443/edgewright/models/x@{MODEL_DIGEST}",
    }
    assert wanted["at"]["frontend"] == ["127.0.0.1", 8443]


def unit(wanted: dict[str, Any]) -> str:
    return str(wanted["files"]["/etc/systemd/system/edgewright-runtime-a.service"])


def test_unit_runs_by_digest_inside_the_slice_and_without_a_network() -> None:
    text = unit(want())
    start = text[text.index("ExecStart=") : text.index("\nExecStop=")]
    command = " ".join(start.replace("\\\n", "").split())
    registry = "10.0.2.100:8443"
    assert "Slice=edgert.slice\nDelegate=yes\n" in text
    assert "Requires=edgewright-partition.service\nAfter=edgewright-partition.service\n" in text
    for words in (
        "--cgroups=split --sdnotify=conmon",
        "--pull never --network none --read-only --user 65532 --cap-drop all",
        "--security-opt no-new-privileges",
        "--volume /run/edgewright/runtime/a:/run/edgewright",
        f"--mount type=image,source={registry}/edgewright/models/x@{MODEL_DIGEST}"
        ",destination=/models/label-reader",
        "--env EDGEWRIGHT_THREADS=2",
        "--env EDGEWRIGHT_MAX_REQUEST_BYTES=16777216",
        f"--label edgewright.generation={want()['generation']} {registry}/edgewright/runtime@",
    ):
        assert words in command
    assert command.endswith(RUNTIME_DIGEST)


def test_without_isolation_the_unit_needs_no_partition() -> None:
    wanted = want({"isolation_cpus": ""})
    assert "edgewright-partition" not in unit(wanted)
    assert wanted["cpus"] is None
    assert "EDGEWRIGHT_THREADS=4" in unit(wanted)
    assert "cpus" not in [drift.item for drift in runtime.drift({}, wanted)]


def test_generation_names_the_command_and_not_its_own_label() -> None:
    command = ["podman", "run", "--label", "edgewright.generation=1", "image"]
    other = ["podman", "run", "--label", "edgewright.generation=2", "image"]
    assert generation(command) == generation(other) != generation([*command, "x"])
    assert want({"runtime_threads": 1})["generation"] != want()["generation"]


def test_a_container_has_no_runtime() -> None:
    wanted = runtime.want({}, {"name": "can", "cpus": 1, "boot": "none"}, lock())
    assert wanted == {}
    assert runtime.drift({}, wanted) == []


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no port": ({"runtime_listen": "10.0.0.1"}, {}, "runtime_listen: expected ADDRESS:PORT"),
    "port 0": ({"runtime_listen": "0.0.0.0:0"}, {}, "runtime_listen"),
    "high port": ({"runtime_listen": "0.0.0.0:65536"}, {}, "runtime_listen"),
    "address": ({"runtime_listen": "10.0.0.256:1"}, {}, "runtime_listen"),
    "name": ({"runtime_listen": "reader-01:8443"}, {}, "runtime_listen"),
    "configuration slipped in": ({"runtime_listen": "0.0.0.0:1;}"}, {}, "runtime_listen"),
    "line slipped in": ({"runtime_listen": "0.0.0.0:1\n"}, {}, "runtime_listen"),
    "threads": ({"runtime_threads": -1}, {}, "runtime_threads: expected a whole number from 0 to 1024"),
    "bool": ({"runtime_threads": True}, {}, "runtime_threads"),
    "bytes": ({"runtime_max_request_bytes": "16M"}, {}, "runtime_max_request_bytes"),
    "no image": ({}, {"images": []}, "expected one image of role runtime, got 0"),
    "no model": ({}, {"images": lock()["images"][:1]}, "expected at least one image of role model"),
    "tag for digest": (
        {},
        {"images": [{**lock()["images"][0], "digest": "latest"}, lock()["images"][1]]},
        "image edgewright/runtime: expected digest sha256:<64 hexadecimal digits>, got 'latest'",
    ),
    "image name": (
        {},
        {"images": [{**lock()["images"][0], "name": "x --privileged"}, lock()["images"][1]]},
        "is no OCI repository name",
    ),
    "model name": (
        {},
        {"images": [lock()["images"][0], {**lock()["images"][1], "model": "../x"}]},
        "expected the model's name",
    ),
    "model twice": ({}, {"images": [*lock()["images"], lock()["images"][1]]}, "two images are the model"),
    "package": ({}, {"apt": {"packages": []}}, "lacks the package podman, crun, nginx"),
    "CPU": ({"isolation_cpus": "2-4"}, {}, "names CPU 4"),
}


@pytest.mark.parametrize(("variables", "changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(variables: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        want(variables, **changes)
    assert message in str(caught.value)


def test_no_drift_when_as_wanted() -> None:
    wanted = want()
    assert runtime.drift({**wanted, "stored": None}, wanted) == []


DRIFT: dict[str, tuple[dict[str, Any], list[str]]] = {
    "older image": ({"image": "sha256:" + "c" * 64}, ["image"]),
    "other model": ({"models": {"label-reader": RUNTIME_DIGEST}}, ["models"]),
    "model beside": ({"models": {"label-reader": MODEL_DIGEST, "x": MODEL_DIGEST}}, ["models"]),
    "stopped": (
        {"unit": {"enabled": True, "active": False, "stale": False}, "ready": False, "slice": None},
        ["unit", "slice", "ready"],
    ),
    "outside of the slice": ({"slice": "system.slice", "cpus": "0-1"}, ["slice", "cpus"]),
    "unit edited": (
        {"files": {**want()["files"], "/etc/systemd/system/edgewright-runtime-a.service": "x"}},
        ["files./etc/systemd/system/edgewright-runtime-a.service"],
    ),
    "nginx with an old certificate": (
        {"frontend": {**want()["frontend"], "certificate_current": False}},
        ["frontend"],
    ),
    "package": ({"packages": {**want()["packages"], "nginx": None}}, ["packages"]),
}


@pytest.mark.parametrize(("changes", "items"), DRIFT.values(), ids=DRIFT.keys())
def test_drift(changes: dict[str, Any], items: list[str]) -> None:
    wanted = want()
    found = runtime.drift({**wanted, **changes}, wanted)
    assert [drift.item for drift in found] == items
    assert not any(drift.reboot for drift in found)


ROLES = {
    "O=Plant,OU=application,CN=line 1": "application",
    "CN=reader-01,OU=device,O=Plant": "device",
    "OU=operator": "operator",
    "O=Plant,OU=controller,CN=x": "controller",
    r"O=Plant,OU=application,CN=x\,OU=operator": "application",
    r"O=Plant,CN=x\,OU=operator\,y": "",
    r"O=Plant,OU=operator\,device,CN=x": "",
    "O=Plant,OU=operators,CN=x": "",
    "O=Plant,CN=OU=operator": "",
    "": "",
}


@pytest.mark.parametrize(("subject", "role"), ROLES.items())
def test_role_of_a_subject(subject: str, role: str) -> None:
    """The patterns that nginx is given, in its order; Python reads them as PCRE does."""
    text, _ = frontend_text(FrontendText("0.0.0.0:1", "/s", "/i", 1024))
    found = next(
        (
            name
            for pattern, name in re.findall(r'^    "~(.*)" (\w+);$', text, re.MULTILINE)
            if re.search(pattern, subject)
        ),
        "",
    )
    assert found == role


@pytest.mark.skipif(
    not shutil.which("openssl") or not shutil.which("nginx"), reason="needs nginx and openssl"
)
def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=x",
            "-keyout",
            str(tmp_path / "device.key"),
            "-out",
            str(tmp_path / "device.crt"),
        ],
        check=True,
        capture_output=True,
    )
    shutil.copy(tmp_path / "device.crt", tmp_path / "site-root.crt")
    text, name = frontend_text(FrontendText("127.0.0.1:18999", f"{tmp_path}/s.sock", str(tmp_path), 4096))
    assert f"add_header Edgewright-Config {name} always;" in text
    (tmp_path / "part.conf").write_text(text)
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}"
        f" http {{ access_log off; include {tmp_path}/part.conf; }}"
    )
    done = subprocess.run(
        ["nginx", "-t", "-p", str(tmp_path), "-c", str(whole)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
