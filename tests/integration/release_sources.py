# SPDX-License-Identifier: Apache-2.0
"""A registry of plain files and a tiny image, for tests of images that are made elsewhere."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["DOCKER", "OCI", "Registry", "serve", "tiny_layer"]

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
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
