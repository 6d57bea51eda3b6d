# SPDX-License-Identifier: Apache-2.0
"""`edgewright snaps show` checks a snap and prints what a release needs of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from edgewright.cli.main import main
from edgewright.snaps import trusted
from tests.unit.snaps import asserting as a


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as `snap download` leaves it; the test's store is trusted."""
    roots = a.roots()
    monkeypatch.setattr(trusted, "canonical_roots", lambda: roots)
    (tmp_path / "renamed.snap").write_bytes(a.FILE)
    (tmp_path / "reader_7.assert").write_bytes(a.chain())
    return tmp_path


def test_an_asserted_snap_is_named_by_its_assertions(
    downloaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["snaps", "show", str(downloaded / "renamed.snap"), str(downloaded / "reader_7.assert")]) == 0
    (entry,) = yaml.safe_load(capsys.readouterr().out)["snaps"]
    assert (entry["name"], entry["revision"], entry["publisher"]) == ("reader", 7, a.PUBLISHER)
    assert (entry["sha3_384"], "grade" in entry) == (a.sha3(a.FILE), False)


def test_a_snap_without_assertions_is_dangerous_and_told_so(
    downloaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["snaps", "show", str(downloaded / "renamed.snap")]) == 0
    told = capsys.readouterr()
    assert "WITHOUT ASSERTIONS" in told.err
    assert yaml.safe_load(told.out)["snaps"][0]["grade"] == "dangerous"


@pytest.mark.parametrize(
    ("file", "chain", "words"),
    [
        (a.FILE + b"x", a.chain(), "expected the file whose sha3-384 is"),
        (a.FILE, a.chain(revision=None), "hold no snap-revision"),
        (a.FILE, a.chain(key=None), "no account-key of the key"),
    ],
)
def test_what_is_wrong_is_told(
    downloaded: Path, capsys: pytest.CaptureFixture[str], file: bytes, chain: bytes, words: str
) -> None:
    (downloaded / "renamed.snap").write_bytes(file)
    (downloaded / "reader_7.assert").write_bytes(chain)
    assert main(["snaps", "show", str(downloaded / "renamed.snap"), str(downloaded / "reader_7.assert")]) == 3
    assert words in capsys.readouterr().err
    assert main(["snaps", "show", str(downloaded / "renamed.snap"), str(downloaded / "gone")]) == 2


def test_a_validation_set_is_shown_with_its_pins(
    downloaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = downloaded / "edge-set.assert"
    path.write_bytes(a.set_chain())
    assert main(["snaps", "set", str(path)]) == 0
    told = capsys.readouterr().out
    assert f"# {a.PUBLISHER}/edge-set=3: reader ({a.SNAP_ID}): required, revision 7" in told
    assert yaml.safe_load(told)["validation_sets"] == [
        {"account": a.PUBLISHER, "name": "edge-set", "sequence": 3, "assertions": "snaps/edge-set.assert"}
    ]


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (a.set_chain(set=None), "hold no validation-set"),
        (a.set_chain(brand=None), "no account-key of the key"),
        (b"nothing", "the file ends within its headers"),
    ],
)
def test_a_wrong_validation_set_is_told(
    downloaded: Path, capsys: pytest.CaptureFixture[str], chain: bytes, words: str
) -> None:
    path = downloaded / "edge-set.assert"
    path.write_bytes(chain)
    assert main(["snaps", "set", str(path)]) == 3
    assert words in capsys.readouterr().err
    assert main(["snaps", "set", str(downloaded / "gone")]) == 2


def test_a_component_is_shown_with_its_snap(downloaded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (downloaded / "reader_7.assert").write_bytes(a.component_chain())
    part = downloaded / "any.comp"
    part.write_bytes(a.COMPONENT)
    words = ["snaps", "show", str(downloaded / "renamed.snap"), str(downloaded / "reader_7.assert")]
    assert main([*words, "--component", str(part)]) == 0
    (entry,) = yaml.safe_load(capsys.readouterr().out)["snaps"]
    (component,) = entry["components"]
    assert (component["name"], component["revision"], component["path"]) == ("extra", 12, "snaps/any.comp")
    part.write_bytes(a.COMPONENT + b"x")
    assert main([*words, "--component", str(part)]) == 3
    assert "hold no snap-resource-revision of this file" in capsys.readouterr().err
    part.write_bytes(a.COMPONENT)
    (downloaded / "reader_7.assert").write_bytes(a.component_chain(pair=None))
    assert main([*words, "--component", str(part)]) == 3
    assert "no snap-resource-pair says" in capsys.readouterr().err
    assert main([*words[:3], "--component", str(part)]) == 2
    assert "is checked by its snap's ASSERT" in capsys.readouterr().err
