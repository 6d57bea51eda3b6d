# SPDX-License-Identifier: Apache-2.0
"""Licences in Debian's copyright files: read where they are machine-readable, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.depot.blobs import BlobStore
from edgewright.errors import IntegrityError
from edgewright.release.deblicence import licence_of, parse_copyright

HEAD = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n"

CASES = {
    "one licence": (f"{HEAD}\nFiles: *\nCopyright: me\nLicense: GPL-2+\n text\n", "GPL-2+"),
    "several, each once, sorted": (
        f"{HEAD}\nFiles: *\nLicense: GPL-2+\n\nFiles: a\nLicense: Expat\n\nFiles: b\nLicense: GPL-2+\n",
        "Expat AND GPL-2+",
    ),
    "a choice keeps its parentheses": (
        f"{HEAD}\nFiles: *\nLicense: Expat\n\nFiles: a\nLicense: Artistic or GPL-1+\n",
        "(Artistic or GPL-1+) AND Expat",
    ),
    "licence texts alone are no statement": (f"{HEAD}\nLicense: GPL-2+\n text\n", None),
    "the format's old name": ("Format: http://dep.debian.net/deps/dep5\n\nFiles: *\nLicense: ISC\n", "ISC"),
    "free text": ("This package is free software under the GPL.\nLicense: GPL\n", None),
    "nothing": ("", None),
}


@pytest.mark.parametrize("case", CASES)
def test_copyright_files(case: str) -> None:
    text, found = CASES[case]
    assert parse_copyright(text) == found


def test_what_is_no_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    store = BlobStore(tmp_path / "blobs")
    deb = {"name": "x", "filename": "x_1_all.deb", "sha256": store.put(b"no package"), "size": 10}
    with pytest.raises(IntegrityError, match=r"reading x_1_all\.deb: it is not a Debian package: "):
        licence_of(deb, store)
