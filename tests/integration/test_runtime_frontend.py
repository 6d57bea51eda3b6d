# SPDX-License-Identifier: Apache-2.0
"""nginx as a device has it, before the real model server: who may ask what, and the example application.

The configuration is the very text that a device gets, with the directories of this test. The server is
`edgewright_runtime` with the release's model, the application is `examples/read_label.py`.
"""

from __future__ import annotations

import datetime
import hashlib
import http.client
import importlib.util
import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import runtime as probe
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgewright.device.runtime_files import FrontendText, frontend_text
from edgewright.labels import render, to_tensor
from edgewright.paths import cache_dir, collection_root
from edgewright.record.labels import fresh_labels

pytestmark = pytest.mark.slow
MAX_BYTES = 1024 * 1024
NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """A root, an issuing CA below it, and the leaves that it gives out."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = self._make("root", None, None, ca=1)
        self.issuing = self._make("issuing", self.root, None, ca=0)
        (directory / "site-root.crt").write_bytes(self._pem(self.root[0]))

    def leaf(self, name: str, role: str) -> tuple[Path, Path]:
        """Certificate (leaf, then issuing) and key of a name in a role."""
        certificate, key = self._make(name, self.issuing, role, ca=None)
        paths = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        paths[0].write_bytes(self._pem(certificate) + self._pem(self.issuing[0]))
        form = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )
        return paths

    def _make(
        self,
        name: str,
        issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
        role: str | None,
        ca: int | None,
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        names += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role)] if role else []
        names += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Plant")]
        subject = x509.Name(names)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer[0].subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=1))
            .not_valid_after(NOW + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca is not None, path_length=ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if ca is None:
            addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key

    @staticmethod
    def _pem(certificate: x509.Certificate) -> bytes:
        return certificate.public_bytes(serialization.Encoding.PEM)


def _model_bytes() -> bytes:
    """The release's model, out of the wheel that its lock names, kept in the cache of downloads."""
    cache = cache_dir() / "models"
    cache.mkdir(parents=True, exist_ok=True)
    wheel = cache / "rapidocr_onnxruntime-1.4.4-py3-none-any.whl"
    if not wheel.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
        done = subprocess.run(
            [*command, "rapidocr-onnxruntime==1.4.4"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"the release's model can't be had from PyPI: {done.stderr.strip()[-300:]}")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx")


def _wait(
    what: str, process: subprocess.Popen[bytes], done: Callable[[], bool], timeout_s: float = 120.0
) -> None:
    start = time.monotonic()
    while not done():
        assert process.poll() is None, f"{what} ended with status {process.returncode}"
        assert time.monotonic() - start < timeout_s, f"{what}: not within {timeout_s} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("identity"))


@pytest.fixture(scope="module")
def port(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of nginx, with the model server behind it."""
    if not shutil.which("nginx"):
        pytest.skip("needs nginx")
    directory = tmp_path_factory.mktemp("frontend")
    directory.chmod(0o755)
    model = directory / "models" / "label-reader"
    shutil.copytree(collection_root() / "releases" / "label-reader" / "models" / "label-reader", model)
    (model / "model.onnx").write_bytes(_model_bytes())
    authority.leaf("device", "device")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    text, _ = frontend_text(
        FrontendText(f"127.0.0.1:{port}", f"{directory}/s.sock", str(authority.directory), MAX_BYTES)
    )
    (directory / "part.conf").write_text(text)
    (directory / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{ client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n"
        f"fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/c;\n"
        f"include {directory}/part.conf; }}\n"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(collection_root() / "runtime" / "src"),
        "EDGEWRIGHT_MODELS": str(directory / "models"),
        "EDGEWRIGHT_SOCKET": f"{directory}/s.sock",
        "EDGEWRIGHT_MAX_REQUEST_BYTES": str(MAX_BYTES),
        "EDGEWRIGHT_THREADS": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "edgewright_runtime", "--config-from-env"], env=environment
    )
    nginx = subprocess.Popen(["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf")])
    try:
        device = (authority.directory / "device.crt", authority.directory / "device.key")
        _wait("nginx", nginx, (directory / "pid").exists)
        _wait("the model server", server, lambda: ask(authority, port, "/v2/health/ready", device)[0] == 200)
        yield port
    finally:
        for process in (nginx, server):
            process.terminate()
            process.wait(30)


def ask(
    authority: Authority, port: int, path: str, client: tuple[Path, Path] | None, body: bytes | None = None
) -> tuple[int, str]:
    """Status (0: refused before any) and body of one request."""
    context = ssl.create_default_context(cafile=str(authority.directory / "site-root.crt"))
    if client:
        context.load_cert_chain(*client)
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    try:
        connection.request("POST" if body else "GET", path, body=body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


ROLES = {
    "application": (200, 403),
    "device": (200, 403),
    "operator": (200, 200),
    "controller": (200, 200),
    "camera": (403, 403),
}


@pytest.mark.parametrize(("role", "statuses"), ROLES.items())
def test_what_a_role_may_ask(authority: Authority, port: int, role: str, statuses: tuple[int, int]) -> None:
    client = authority.leaf(f"a {role}", role)
    got = [ask(authority, port, path, client)[0] for path in ("/v2/models/label-reader", "/metrics")]
    assert tuple(got) == statuses


def test_a_name_that_looks_like_a_role_is_none(authority: Authority, port: int) -> None:
    status, body = ask(authority, port, "/metrics", authority.leaf("x,OU=operator", "application"))
    assert (status, json.loads(body)["error"]) == (
        403,
        "the role of this certificate may not read the metrics",
    )


def test_strangers_are_refused(authority: Authority, port: int, tmp_path: Path) -> None:
    stranger = Authority(tmp_path).leaf("stranger", "operator")
    for client in (None, stranger):
        status, body = ask(authority, port, "/v2/health/ready", client)
        assert status in (0, 400), body


def test_a_request_over_the_limit_is_refused_as_json(authority: Authority, port: int) -> None:
    status, body = ask(
        authority,
        port,
        "/v2/models/label-reader/infer",
        authority.leaf("app", "application"),
        bytes(MAX_BYTES + 1),
    )
    assert (status, json.loads(body)) == (413, {"error": f"a request may have at most {MAX_BYTES} bytes"})


def test_the_device_probe_is_content(authority: Authority, port: int) -> None:
    """What the runtime area asks on a device, with the device's own files."""
    answer = probe.ask_ready(("127.0.0.1", port), str(authority.directory))
    assert answer.status == 200
    assert answer.headers["edgewright-config"]
    assert answer.certificate is not None
    shown = hashlib.sha256(answer.certificate).hexdigest()
    assert shown == probe.leaf_sha256((authority.directory / "device.crt").read_text())


def _example(
    authority: Authority, port: int, image: Path, client: tuple[Path, Path]
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(collection_root() / "examples" / "read_label.py"), str(image)]
    command += ["--device", f"https://127.0.0.1:{port}", "--ca", str(authority.directory / "site-root.crt")]
    command += ["--cert", str(client[0]), "--key", str(client[1])]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_example_reads_a_label(authority: Authority, port: int, tmp_path: Path) -> None:
    client = authority.leaf("line 1", "application")
    for text in ("SN 4711-0815", "EW-000042"):
        render(text).save(tmp_path / "label.png")
        done = _example(authority, port, tmp_path / "label.png", client)
        assert (done.returncode, done.stdout) == (0, f"{text}\n"), done.stderr


def test_the_example_says_what_is_wrong(authority: Authority, port: int, tmp_path: Path) -> None:
    (tmp_path / "none.png").write_text("no picture")
    client = authority.leaf("line 1", "application")
    done = _example(authority, port, tmp_path / "none.png", client)
    assert done.returncode == 2
    assert "reading the picture" in done.stderr
    render("EW-000042").save(tmp_path / "label.png")
    done = _example(authority, port, tmp_path / "label.png", authority.leaf("camera", "camera"))
    assert done.returncode == 4
    assert "got 403" in done.stderr and "may not use the model" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_measuring_program_measures_it(authority: Authority, port: int) -> None:
    """The program that a device runs, against the real model: every text right, every latency kept."""
    spec = importlib.util.spec_from_file_location(
        "measure", collection_root() / "roles" / "acceptance" / "files" / "measure.py"
    )
    assert spec and spec.loader
    measure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(measure)
    labels = fresh_labels(3)
    tensors = [to_tensor(render(text)) for text in labels]
    plan = {
        "model": "label-reader",
        "rate_hz": 5.0,
        "duration_s": 3.0,
        "shapes": [list(t.shape) for t in tensors],
    }
    device = measure.Device("127.0.0.1", port, str(authority.directory))
    made = measure.measure_requests(plan, [tensor.tobytes() for tensor in tensors], device, tell=print)
    device.close()
    assert made["errors"] == 0, made["error_examples"]
    assert [list(read) for read in made["texts"]] == [[text] for text in labels]
    assert sum(made["latency_us_histogram"].values()) == made["sent"] >= 3
