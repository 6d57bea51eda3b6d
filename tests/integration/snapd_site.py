# SPDX-License-Identifier: Apache-2.0
"""A twin with Debian's snapd, a depot with the label reader's snaps, and the module that installs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgewright.depot.blobs import BlobStore
from edgewright.release.documents import load_lock, load_release
from edgewright.release.lock import ensure_images, fetch_sources
from edgewright.release.ocitar import Entry
from edgewright.snaps.content import model_snap
from edgewright.snaps.inputs import hash_snap
from edgewright.snaps.pack import image_entries, squash
from edgewright.twin import SnapdTwin, TwinSpec
from tests.integration.depot_site import RELEASE, DepotSite, served

__all__ = ["IDENTITY", "MODEL", "PAIR", "RUNTIME", "SnapdSite", "snapd_site"]

RUNTIME, MODEL = "edgewright-runtime", "edgewright-model-label-reader"
PAIR = [f"{RUNTIME}:model-label-reader", f"{MODEL}:model"]
IDENTITY = f"/var/snap/{RUNTIME}/common/identity"
_ANSIBLE = Path(sys.executable).with_name("ansible")


@dataclass
class SnapdSite:
    """What a test does with the twin.

    Attributes:
        twin: the device.
        depot: what it reaches.
        lock: the release's lock.
        store: where the lock's files are.
        snaps: the module's wish, by name of the snap.
        health_timeout_s: the module's; an emulated CPU needs a minute to start the server.
    """

    twin: SnapdTwin
    depot: DepotSite
    lock: Mapping[str, Any]
    store: BlobStore
    snaps: dict[str, dict[str, Any]] = field(default_factory=dict)
    health_timeout_s: int = 600

    def offer(self, name: str, file: Path, **more: Any) -> None:
        """Put a snap's file into the depot, and ask for it from now on."""
        hashed = hash_snap(file)
        filename = f"{name}_dangerous.snap"
        target = self.depot.depot / "snaps" / filename
        target.unlink(missing_ok=True)
        shutil.copyfile(file, target)
        target.chmod(0o644)
        told = {"name": name, "filename": filename, "size": hashed.size, "sha3_384": hashed.sha3_384}
        self.snaps[name] = {**told, "grade": "dangerous", **more}

    def offer_locked(self, name: str) -> None:
        """The snap as it is locked."""
        self.offer(name, next(self.store.path(e["sha256"]) for e in self.lock["snaps"] if e["name"] == name))

    def offer_model(self, version: str, changed: Mapping[str, Entry], place: Path) -> None:
        """The locked model as another version with some other files."""
        image = next(entry for entry in self.lock["images"] if entry["role"] == "model")
        entries = image_entries(image, self.store) | changed
        squash(model_snap(entries, {**image, "version": version}, "amd64"), place / f"{version}.snap")
        self.offer(MODEL, place / f"{version}.snap")

    def run(self, check: bool = False, *, start: bool = False) -> Any:
        """Run the module on the device. Returns its result with `failed`; with `start` the process."""
        wish = {
            "depot": {"host": "10.0.2.100", "port": 8443},
            "identity": IDENTITY,
            "staging": "/var/tmp/edgewright-snaps",  # noqa: S108 - on the device, made for root alone
            "snaps": list(self.snaps.values()),
            "connect": [PAIR],
            "health_timeout_s": self.health_timeout_s,
        }
        spec = self.twin.spec
        options = f"-o UserKnownHostsFile={spec.known_hosts} -o StrictHostKeyChecking=yes"
        variables = {
            "ansible_host": spec.address,
            "ansible_port": spec.port,
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(spec.private_key),
            "ansible_ssh_common_args": options,
        }
        argv = [str(_ANSIBLE), "device", "-i", "device,", "--one-line", "-e", json.dumps(variables)]
        argv += ["-m", "edgewright.factory.snaps", "-a", json.dumps(wish), *(["--check"] if check else [])]
        environment = {
            **os.environ,
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
            "ANSIBLE_FORCE_COLOR": "0",
        }
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        if start:
            return process
        text, _ = process.communicate(timeout=1800)
        found = re.search(r"^device \| (\S+).*?=> (\{.*)$", text, re.MULTILINE)
        assert found, text[-3000:]
        result: dict[str, Any] = json.loads(found[2])
        return result | {"failed": found[1].startswith("FAILED")}

    def ask(self, method: str, path: str) -> Any:
        """Ask the device's snapd over its socket; a round trip of one second."""
        done = self.twin.run(f"python3 - {method} {path}", stdin=_ASK)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["result"]

    def installed(self) -> dict[str, Any]:
        """The device's snaps, by name."""
        return {snap["name"]: snap for snap in self.ask("GET", "/v2/snaps")}

    def serves(self) -> str:
        """What the server says on its socket of the model."""
        done = self.twin.run(f"python3 - {RUNTIME}", stdin=_SERVES)
        return done.stdout + done.stderr


_ASK = """
import http.client, socket, sys
link = http.client.HTTPConnection("localhost", timeout=60)
link.sock = socket.socket(socket.AF_UNIX)
link.sock.connect("/run/snapd.socket")
link.request(sys.argv[1], sys.argv[2])
print(link.getresponse().read().decode())
"""
_SERVES = """
import http.client, socket, sys
link = http.client.HTTPConnection("localhost", timeout=60)
link.sock = socket.socket(socket.AF_UNIX)
link.sock.connect("/var/snap/%s/current/run/server.sock" % sys.argv[1])
link.request("GET", "/v2/models/label-reader")
answer = link.getresponse()
print(answer.status, answer.read().decode()[:300])
"""


@contextmanager
def snapd_site(directory: Path, port: int) -> Iterator[SnapdSite]:
    """A twin that is up, with an identity, and a depot with the locked snaps.

    Args:
        directory: for everything of it.
        port: a free port of this host's loopback, for the twin's ssh.
    """
    lock, _ = load_lock(RELEASE)
    release, _ = load_release(RELEASE)
    store = BlobStore()
    fetch_sources(lock, release, store)
    ensure_images(lock, release, RELEASE, store)
    (directory / "depot" / "snaps").mkdir(parents=True)
    (directory / "depot" / "depot.json").write_text('{"schema": "edgewright.depot/v1", "files": {}}')
    with served(directory / "depot", directory) as depot:
        spec = TwinSpec(
            name="core-under-test",
            kind="snapd",
            state_dir=directory / "state",
            port=port,
            depot_port=int(depot.address.rpartition(":")[2]),
            capture=True,
        )
        site = SnapdSite(SnapdTwin(spec), depot, lock, store)
        try:
            site.twin.up()
            give_identity(site)
            for name in (RUNTIME, MODEL):
                site.offer_locked(name)
            yield site
        finally:
            site.twin.purge()


def give_identity(site: SnapdSite) -> None:
    """Put the device's certificate and key where the runtime's snap reads them, as the role identity does."""
    files = {"device.crt": site.depot.certificate, "device.key": site.depot.key}
    files["site-root.crt"] = site.depot.authority.root
    texts = {name: path.read_text() for name, path in files.items()}
    script = (
        "import json, os, sys\n"
        f"os.makedirs({IDENTITY!r}, mode=0o700, exist_ok=True)\n"
        "for name, text in json.load(sys.stdin).items():\n"
        f"    with open(os.path.join({IDENTITY!r}, name), 'w') as stream:\n"
        "        stream.write(text)\n"
    )
    done = site.twin.run(f'python3 -c "{script}"', stdin=json.dumps(texts))
    assert done.returncode == 0, done.stderr
