# SPDX-License-Identifier: Apache-2.0
"""Facts: what is carried is whole; what is wrong is told with its line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from edgewright.errors import InputError
from edgewright.release.stack.facts import KINDS, carried_facts, load_facts


class Copy:
    """A copy of the carried facts, to damage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(carried_facts(), path)

    def edit(self, kind: str, old: str, new: str) -> None:
        """Replace the first of a text, which must be there."""
        file = self.path / f"{kind}.yml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def refused(self) -> str:
        """Why the facts are not read."""
        with pytest.raises(InputError) as caught:
            load_facts(self.path)
        return str(caught.value)


@pytest.fixture
def facts(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "facts")


def test_every_kind_is_carried_with_source_and_date() -> None:
    found = load_facts()
    for kind in KINDS:
        for row in found.all(kind):
            assert len(row.source) > 10, row.place
            assert row.date == "2026-11-21" or row.date > "2026-11-21", row.place


def test_an_unverified_row_gives_only_its_key() -> None:
    row = load_facts().one("cuda", release="13.5")
    assert row is not None
    assert (row["release"], row["label"], row["toolkit_driver"], row["branch"]) == ("13.5", None, None, None)
    assert row.told.endswith("(not verified)")


def test_an_unverified_value_reads_as_none() -> None:
    row = load_facts().one("jetpack", jetpack="7.2")
    assert row is not None
    assert (row["cuda"], row["kernel"]) == (None, "6.8")
    assert row.written["cuda"] == "13.2.1"


def test_what_is_not_there_is_none() -> None:
    assert load_facts().one("cuda", release="12.7.0") is None


DAMAGE = {
    "a version without quotes": ('"12.4.0"', "12.4", "cuda", "release: 12.4 is not of type 'string'"),
    "a date that is none": ('date: "2026-11-21"', 'date: "2026-02-30"', "cuda", "no day of the calendar"),
    "no date": ('    date: "2026-11-21"\n', "", "cuda", "'date' is a required property"),
    "no source": ('    source: "arch-matrix"\n', "", "architectures", "'source' is a required property"),
    "a source that is not listed": (
        'source: "arch-matrix"',
        'source: "hearsay"',
        "architectures",
        "source 'hearsay' is not among sources",
    ),
    "verified in words": ("verified: true", 'verified: "yes"', "cuda", "'yes' is not of type 'boolean'"),
    "an unknown key": ("toolkit_driver:", "toolkit_drivr:", "cuda", "'toolkit_drivr' was unexpected"),
    "a value that is no version": ('"520.61.05"', '"R520"', "cuda", "does not match"),
    "a row twice": (
        'release: "12.0.1"',
        'release: "12.0"',
        "cuda",
        "a second row for 12 (the first is in line",
    ),
    "unverified names nothing": (
        'unverified: ["cudnn_major"]',
        'unverified: ["cudnn"]',
        "onnxruntime-gpu",
        "unverified names 'cudnn'",
    ),
    "unverified names the key": (
        'unverified: ["cudnn_major"]',
        'unverified: ["release"]',
        "onnxruntime-gpu",
        "unverified names 'release'",
    ),
    "another kind": (
        "kind: cuda",
        "kind: cudnn",
        "cuda",
        "expected schema: edgewright.facts/v1 and kind: cuda",
    ),
    "another schema": ("facts/v1", "facts/v2", "cuda", "expected schema: edgewright.facts/v1"),
    "a key twice": ("kind: cuda\n", "kind: cuda\nkind: cuda\n", "cuda", "is written twice"),
    "no YAML": ("rows:", "rows: [", "cuda", "not YAML"),
    "no rows": ("rows:", "rows: []\nrest:", "cuda", "'rest' was unexpected"),
}


@pytest.mark.parametrize(("old", "new", "kind", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_bad_file_is_refused_with_its_line(
    facts: Copy, old: str, new: str, kind: str, message: str
) -> None:
    facts.edit(kind, old, new)
    told = facts.refused()
    assert message in told
    assert f"{kind}.yml" in told


def test_the_line_is_that_of_the_fault(facts: Copy) -> None:
    lines = (facts.path / "cuda.yml").read_text().split("\n")
    number = next(index for index, line in enumerate(lines, 1) if '"12.4.0"' in line)
    facts.edit("cuda", '"12.4.0"', '"twelve"')
    assert f"cuda.yml:{number}: release: " in facts.refused()


def test_an_unused_source_is_refused(facts: Copy) -> None:
    facts.edit("cuda", "sources:\n", "sources:\n  nobody: a page\n")
    assert "source 'nobody' is named by no row" in facts.refused()


def test_a_missing_file_is_told(facts: Copy) -> None:
    (facts.path / "cudnn.yml").unlink()
    assert "missing cudnn.yml" in facts.refused()


def test_a_file_of_no_kind_is_told(facts: Copy) -> None:
    (facts.path / "rumours.yml").write_text("schema: x\n")
    assert "rumours.yml is of no known kind" in facts.refused()


def test_a_document_that_is_no_mapping_is_told(facts: Copy) -> None:
    (facts.path / "cudnn.yml").write_text("- 1\n")
    assert "expected schema: edgewright.facts/v1 and kind: cudnn" in facts.refused()


@pytest.mark.parametrize("kind", KINDS)
def test_no_source_is_only_a_word(kind: str) -> None:
    content = yaml.safe_load((carried_facts() / f"{kind}.yml").read_text())
    for name, text in content["sources"].items():
        assert " " in text or text.startswith("https://"), name
