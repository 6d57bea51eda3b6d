# SPDX-License-Identifier: Apache-2.0
"""Sources of a release in small: a registry of plain files, a signed apt archive, wheels; their server."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import functools
import gzip
import hashlib
import http.server
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["DOCKER", "OCI", "Archive", "Registry", "serve", "tiny_layer", "tiny_wheel"]

OCI = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def tiny_layer(text: str) -> bytes:
    """A layer with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("tool")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Registry:
    """The pulling half of a registry as files: what `http.server` needs to answer skopeo.

    Manifests' media types are told by their file name, see `serve`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "v2").mkdir(parents=True)

    def push(self, name: str, tag: str, arch: str, text: str, kind: str = OCI) -> tuple[str, str]:
        """Add an image of one layer. Returns the digests of its manifest and of its configuration."""
        plain = tiny_layer(text)
        layer = gzip.compress(plain, mtime=0)
        config = json.dumps(
            {
                "architecture": arch,
                "os": "linux",
                "config": {"Cmd": ["/tool"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
            }
        ).encode()
        oci = kind == OCI
        layer_type = (
            "application/vnd.oci.image.layer.v1.tar+gzip"
            if oci
            else ("application/vnd.docker.image.rootfs.diff.tar.gzip")
        )
        config_type = (
            "application/vnd.oci.image.config.v1+json"
            if oci
            else ("application/vnd.docker.container.image.v1+json")
        )
        manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": kind}
        manifest["config"] = {"mediaType": config_type, "size": len(config), "digest": _digest(config)}
        manifest["layers"] = [{"mediaType": layer_type, "size": len(layer), "digest": _digest(layer)}]
        for data in (layer, config):
            self._write(f"{name}/blobs/{_digest(data)}", data)
        return self._manifest(name, tag, manifest), _digest(config)

    def index(self, name: str, tag: str, digests: dict[str, str]) -> str:
        """Add an index of images by architecture. Returns its digest."""
        kind = "application/vnd.oci.image.index.v1+json"
        listed = [
            {
                "mediaType": OCI,
                "digest": digest,
                "size": (self.root / "v2" / name / "manifests" / digest).stat().st_size,
                "platform": {"os": "linux", "architecture": arch},
            }
            for arch, digest in digests.items()
        ]
        return self._manifest(name, tag, {"schemaVersion": 2, "mediaType": kind, "manifests": listed})

    def _manifest(self, name: str, tag: str, manifest: dict[str, Any]) -> str:
        data = json.dumps(manifest, indent=1).encode()
        for reference in (tag, _digest(data)):
            self._write(f"{name}/manifests/{reference}", data)
        return _digest(data)

    def _write(self, path: str, data: bytes) -> None:
        target = self.root / "v2" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


class _Handler(http.server.SimpleHTTPRequestHandler):
    def guess_type(self, path: Any) -> str:
        if "/manifests/" in str(path) and Path(path).is_file():
            return str(json.loads(Path(path).read_bytes())["mediaType"])
        return "application/octet-stream"

    def list_directory(self, path: Any) -> Any:  # noqa: ARG002 - the interface's
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serve a directory on a free port of this host. Gives `127.0.0.1:PORT`."""
    handler = functools.partial(_Handler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Archive:
    """A signed apt archive of tiny packages, one suite, served as files.

    archive.add("tool", "1.0", depends="libtool1 (>= 1.0)")
    archive.publish()
    """

    def __init__(self, root: Path, suite: str = "tiny") -> None:
        self.root, self._suite = root, suite
        self._home = Path(tempfile.mkdtemp(prefix="ew-gpg-"))  # gpg's socket wants a short path
        (root / "pool").mkdir(parents=True)
        self.gpg("--quick-gen-key", "Tiny archive <tiny@archive.example>", "ed25519", "sign", "never")
        self.key = self.gpg("--armor", "--export")

    def gpg(self, *words: str, data: bytes = b"") -> bytes:
        command = [
            "gpg",
            "--homedir",
            str(self._home),
            "--batch",
            "--yes",
            "--quiet",
            "--passphrase",
            "",
            *words,
        ]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    def close(self) -> None:
        """Stop gpg's agent and remove the key."""
        subprocess.run(["gpgconf", "--homedir", str(self._home), "--kill", "all"], check=False)
        shutil.rmtree(self._home, ignore_errors=True)

    def add(self, name: str, version: str, depends: str = "", arch: str = "all", **fields: str) -> None:
        """Add a package; `publish` shows it."""
        copyright_ = fields.pop("Copyright", "")
        told = {
            "Package": name,
            "Version": version,
            "Architecture": arch,
            "Maintainer": "Tiny <t@archive.example>",
        }
        told |= {"Depends": depends} if depends else {}
        told |= {"Description": "tiny", **fields}
        with tempfile.TemporaryDirectory() as folder:
            room = Path(folder)
            (room / "DEBIAN").mkdir()
            (room / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in told.items()))
            doc = room / "usr/share/doc" / name
            doc.mkdir(parents=True)
            (doc / "copyright").write_text(copyright_ or "Free.\n")
            target = self.root / "pool" / f"{name}_{version}_{arch}.deb"
            subprocess.run(
                ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(room), str(target)],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def remove(self, name: str, version: str, arch: str = "all") -> None:
        """Take a package away, as archives do with old versions."""
        (self.root / "pool" / f"{name}_{version}_{arch}.deb").unlink()

    def publish(self, date: datetime.datetime | None = None, valid: datetime.timedelta | None = None) -> None:
        """Write and sign the index of what is there.

        Args:
            date: The archive's date; now when not given.
            valid: For how long from then it is valid; for ever when not given.
        """
        date = date or datetime.datetime.now(datetime.UTC)
        here = self.root / "dists" / self._suite
        shutil.rmtree(here, ignore_errors=True)
        sums = ""
        for arch in ("amd64", "arm64"):
            index = here / "main" / f"binary-{arch}" / "Packages"
            index.parent.mkdir(parents=True)
            done = subprocess.run(
                ["apt-ftparchive", "--arch", arch, "packages", "pool"],
                cwd=self.root, check=True, capture_output=True,
            )  # fmt: skip
            index.write_bytes(done.stdout)
            name = index.relative_to(here)
            sums += f" {hashlib.sha256(done.stdout).hexdigest()} {len(done.stdout)} {name}\n"
        text = f"Origin: Tiny\nLabel: Tiny\nSuite: {self._suite}\nCodename: {self._suite}\n"
        text += f"Date: {email.utils.format_datetime(date)}\n"
        if valid is not None:
            text += f"Valid-Until: {email.utils.format_datetime(date + valid)}\n"
        text += f"Architectures: amd64 arm64\nComponents: main\nSHA256:\n{sums}"
        (here / "InRelease").write_bytes(self.gpg("--clearsign", data=text.encode()))


def tiny_wheel(
    folder: Path,
    name: str,
    version: str,
    needs: Sequence[str] = (),
    licence: str = "MIT",
    *,
    pythons: str = "",
) -> None:
    """Write a wheel without code; `pythons` are those that it says it is for, such as `<3.5`."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: {licence}\n"
    head += "".join(f"Requires-Dist: {each}\n" for each in needs)
    head += f"Requires-Python: {pythons}\n" if pythons else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", head)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
