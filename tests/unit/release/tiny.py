# SPDX-License-Identifier: Apache-2.0
"""A release that is as small as one can be, and ways to write it differently."""

from __future__ import annotations

from pathlib import Path

from edgewright.release.documents import RELEASE_FILE, read_release
from edgewright.release.yamlmarks import Marked

TEXT = """\
schema: edgewright.release/v1
name: tiny
version: 1.0.0
os:
  family: debian
  suite: bookworm
  arch: amd64
  kernel: linux-image-rt-amd64
apt:
  sources:
    - {uri: "archive:debian", suites: [bookworm], components: [main]}
  packages: [openssl]
  bootstrap: [openssl]
python: {version: "3.11", platforms: [any], requirements: []}
files:
  - name: tool.deb
    path: supplied/tool.deb
    sha256: "0000000000000000000000000000000000000000000000000000000000000000"
    licence: MIT
images:
  runtime: {name: tiny/runtime, licence: MIT, debs: []}
  models: []
  extra:
    - name: tiny/tool
      version: "1"
      licence: MIT
      from: {kind: registry, reference: "registry.example/tool:1"}
"""


class Folder:
    """A release's directory.

    Attributes:
        path: The directory.
        file: Its `release.yml`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path / RELEASE_FILE

    def write(self, *edits: tuple[str, str], more: str = "") -> None:
        """Write the tiny release with replacements (old text that must be there, new), and more lines."""
        text = TEXT
        for old, new in edits:
            assert old in text, f"the tiny release has no {old!r}"
            text = text.replace(old, new, 1)
        self.file.write_text(text + more)

    def read(self, *edits: tuple[str, str], more: str = "") -> Marked:
        """Write it, and read it as `release lock` does."""
        self.write(*edits, more=more)
        return read_release(self.path)[0]
