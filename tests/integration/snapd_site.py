# SPDX-License-Identifier: Apache-2.0
"""A journey's snapd twin, and the module that installs snaps on it: other snaps offered, and asked for.

snapd = SnapdSite(site)                  # a `Site` whose twin is of kind snapd
snapd.offer_model("2", {"NOTE": Entry.file(b"another")})
snapd.run()                              # the module's result, with `failed`
snapd.look()["snaps"][MODEL]["version"]  # "2"
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.edgewright.factory.plugins.module_utils.snapd import SOCKET, Snapd

from edgewright.bundle.rehearsal.egress import Attempt, read_capture
from edgewright.depot.blobs import BlobStore
from edgewright.release.documents import load_lock
from edgewright.release.ocitar import Entry
from edgewright.snaps.content import model_snap
from edgewright.snaps.inputs import hash_snap
from edgewright.snaps.pack import image_entries, squash
from edgewright.twin import SnapdTwin, TwinSpec
from edgewright.twin.ssh import ssh_command
from tests.integration.site import BIN, ROOT, Site

__all__ = ["IDENTITY", "MODEL", "RUNTIME", "SnapdSite", "twin_settings"]

RUNTIME, MODEL = "edgewright-runtime", "edgewright-model-label-reader"
PAIR = [f"{RUNTIME}:model-label-reader", f"{MODEL}:model"]
IDENTITY = f"/var/snap/{RUNTIME}/common/identity"
HEALTH_TIMEOUT_S = 600
"""An emulated CPU needs a minute to start the server, and two such machines share the host's."""


def twin_settings(depot_port: int) -> dict[str, Any]:
    """`edgewright_twin` of a device whose packets are kept, so that none for a store goes unseen."""
    return {"kind": "snapd", "cpus": 4, "memory_mib": 2048, "depot_port": depot_port, "capture": True}


@dataclass
class SnapdSite:
    """What a test does with the snaps of a journey's device.

    Attributes:
        site: the journey's, with its twin, its depot and its inventory.
        snaps: the module's wish, by name of the snap; at first what the release has locked.
    """

    site: Site
    snaps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock: Mapping[str, Any] = load_lock(self.site.release)[0]
        self.snaps |= {snap["name"]: self._wish(snap) for snap in self.lock["snaps"]}
        variables = {
            "edgewright_twin": twin_settings(self.site.depot_port),
            "edgewright_state_dir": str(self.site.state),
            "ansible_port": self.site.ssh_port,
        }
        self.twin = SnapdTwin(TwinSpec.from_hostvars(self.site.device, variables))

    def locked(self, name: str) -> dict[str, Any]:
        """The module's wish for a snap as it is locked; its file is in the depot."""
        return self._wish(next(snap for snap in self.lock["snaps"] if snap["name"] == name))

    @staticmethod
    def _wish(snap: Mapping[str, Any]) -> dict[str, Any]:
        return {key: snap[key] for key in ("name", "filename", "size", "sha3_384", "grade")}

    def put(self, name: str, data: bytes) -> None:
        """Put a file of a new name into the depot's snaps; what the depot has stays as it is."""
        target = self.site.depot / "snaps" / name
        assert not target.exists(), f"{target} is the depot's own"
        target.write_bytes(data)
        target.chmod(0o644)

    def offer_model(self, version: str, changed: Mapping[str, Entry], *, flip: bool = False) -> None:
        """Offer the locked model as another version with some other files, and ask for it from now on.

        Args:
            version: its version, and the revision in its file's name.
            changed: the files that are other ones, by path.
            flip: whether one bit of what the depot gives is another than what is asked for.
        """
        image = next(entry for entry in self.lock["images"] if entry["role"] == "model")
        entries = image_entries(image, BlobStore()) | changed
        with tempfile.TemporaryDirectory(dir=self.site.directory) as place:
            file = Path(place) / "model.snap"
            squash(model_snap(entries, {**image, "version": version}, "amd64"), file)
            hashed, data = hash_snap(file), bytearray(file.read_bytes())
        if flip:
            data[len(data) // 2] ^= 1
        filename = f"{MODEL}_{version}.snap"
        self.put(filename, bytes(data))
        told = {"filename": filename, "size": hashed.size, "sha3_384": hashed.sha3_384}
        self.snaps[MODEL] = {"name": MODEL, "grade": "dangerous", **told}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the module on the device, by the site's own inventory."""
        wish = {
            "depot": {"host": "10.0.2.100", "port": 8443},
            "identity": IDENTITY,
            "staging": "/var/tmp/edgewright-snaps",  # noqa: S108 - on the device, made for root alone
            "snaps": list(self.snaps.values()),
            "connect": [PAIR],
            "health_timeout_s": HEALTH_TIMEOUT_S,
        }
        argv = [str(BIN / "ansible"), self.site.device, "-i", str(self.site.inventory), "--one-line"]
        argv += ["-m", "edgewright.factory.snaps", "-a", json.dumps(wish), *arguments]
        return subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=self.site.environment() | {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal"},
        )

    def run(self, *, check: bool = False) -> dict[str, Any]:
        """Run the module to its end. Returns its result with `failed`."""
        process = self.start(*(["--check"] if check else []))
        try:
            text, _ = process.communicate(timeout=1800)
        finally:
            process.kill()
        found = re.search(rf"^{re.escape(self.site.device)} \| (\S+).*?=> (\{{.*)$", text, re.MULTILINE)
        assert found, text[-3000:]
        result: dict[str, Any] = json.loads(found[2])
        return result | {"failed": found[1].startswith("FAILED")}

    def look(self) -> dict[str, Any]:
        """What the device says of itself, asked once.

        Returns:
            `snaps` of its snapd by name, `changes` that are under way by their summaries, and `serves`, what
            the model's server says on its socket: status and text.
        """
        done = self.twin.run(f"python3 - {RUNTIME}", stdin=_LOOK, timeout_s=600)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @contextmanager
    def link(self) -> Iterator[Snapd]:
        """The module's own link to the device's snapd, whose socket ssh brings here."""
        with tempfile.TemporaryDirectory() as place:  # a short path, as sockets take no long one
            local = Path(place) / "snapd.socket"
            program, *rest = ssh_command(self.twin.spec)
            argv = [program, "-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{local}:{SOCKET}", *rest]
            process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
            try:
                end = time.monotonic() + 120
                while not local.is_socket():
                    assert process.poll() is None, process.communicate()[1]
                    assert time.monotonic() < end, "ssh brings no socket"
                    time.sleep(0.1)
                yield Snapd(str(local))
            finally:
                process.terminate()
                process.communicate()

    def attempts(self) -> list[Attempt]:
        """What the device sent elsewhere since it was switched on."""
        return read_capture(self.twin.spec.capture_file)


_LOOK = """
import http.client, json, socket, sys
def ask(path, question):
    link = http.client.HTTPConnection("localhost", timeout=60)
    link.sock = socket.socket(socket.AF_UNIX)
    link.sock.connect(path)
    link.request("GET", question)
    answer = link.getresponse()
    return answer.status, answer.read().decode()
def snapd(question):
    return json.loads(ask("/run/snapd.socket", question)[1])["result"] or []
try:
    status, text = ask("/var/snap/%s/current/run/server.sock" % sys.argv[1], "/v2/models/label-reader")
    serves = "%s %s" % (status, text[:300])
except OSError as error:
    serves = str(error)
print(json.dumps({
    "snaps": {snap["name"]: snap for snap in snapd("/v2/snaps")},
    "changes": [change["summary"] for change in snapd("/v2/changes?select=in-progress")],
    "serves": serves,
}))
"""
