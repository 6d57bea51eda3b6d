# SPDX-License-Identifier: Apache-2.0
"""The page "which versions fit together" is that of the facts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from edgewright.release.stack.facts import KINDS, load_facts

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def stack_page() -> ModuleType:
    """`scripts/stack_page.py` as a module."""
    spec = importlib.util.spec_from_file_location("stack_page", ROOT / "scripts" / "stack_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(stack_page: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert stack_page.main(["--check"]) == 0, capsys.readouterr().out


def test_every_kind_of_facts_has_a_table(stack_page: ModuleType) -> None:
    assert {kind for _, kind, _ in stack_page.TABLES} == set(KINDS)


def test_every_row_has_its_source(stack_page: ModuleType) -> None:
    text = stack_page.tables(load_facts())
    rows = [line for line in text.split("\n") if line.startswith("| ") and "](#s" in line]
    assert len(rows) == sum(len(found) for found in load_facts().rows.values())
    assert "(not verified)" in text


def test_what_was_not_verified_is_a_question_mark(stack_page: ModuleType) -> None:
    lines = stack_page.tables(load_facts()).split("\n")
    (line,) = [line for line in lines if line.startswith("| 13.5 |")]
    assert line.startswith("| 13.5 | ? | ? |")


@pytest.mark.parametrize(
    "page", ["", "<!-- facts -->", "<!-- /facts -->\n<!-- facts -->", "<!-- facts -->" * 2]
)
def test_a_page_without_its_marks_is_refused(stack_page: ModuleType, page: str) -> None:
    with pytest.raises(ValueError, match="expected one line"):
        stack_page.rendered(page, load_facts())


def test_an_outdated_page_is_told_and_written(
    stack_page: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "nvidia-stack.md"
    page.write_text("before\n<!-- facts -->\nold\n<!-- /facts -->\nafter\n")
    monkeypatch.setattr(stack_page, "PAGE", page)
    monkeypatch.setattr(stack_page, "ROOT", tmp_path)
    assert stack_page.main(["--check"]) == 1
    assert "run python scripts/stack_page.py" in capsys.readouterr().out
    assert stack_page.main([]) == 0
    assert stack_page.main(["--check"]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- /facts -->\nafter\n")
    assert "old" not in text.split("\n")
