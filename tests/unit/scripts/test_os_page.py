# SPDX-License-Identifier: Apache-2.0
"""The page "Debian RT or Ubuntu Core" is that of the facts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from edgewright.osadvice.facts import TOPICS, load_os_facts

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def os_page() -> ModuleType:
    """`scripts/os_page.py` as a module."""
    spec = importlib.util.spec_from_file_location("os_page", ROOT / "scripts" / "os_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(os_page: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert os_page.main(["--check"]) == 0, capsys.readouterr().out


def test_every_question_has_a_line_and_what_is_unknown_is_told(os_page: ModuleType) -> None:
    text = os_page.table(load_os_facts())
    assert all(f"| `{topic}`: " in text for topic in TOPICS)
    assert "**unknown**, not verified: no public Ubuntu Core image" in text


@pytest.mark.parametrize("page", ["", "<!-- facts -->", "<!-- /facts -->\n<!-- facts -->"])
def test_a_page_without_its_marks_is_refused(os_page: ModuleType, page: str) -> None:
    with pytest.raises(ValueError, match="expected one line"):
        os_page.rendered(page, load_os_facts())


def test_an_outdated_page_is_told_and_written(
    os_page: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "os-choice.md"
    page.write_text("before\n<!-- facts -->\nold\n<!-- /facts -->\nafter\n")
    monkeypatch.setattr(os_page, "PAGE", page)
    monkeypatch.setattr(os_page, "ROOT", tmp_path)
    assert os_page.main(["--check"]) == 1
    assert "run python scripts/os_page.py" in capsys.readouterr().out
    assert os_page.main([]) == 0
    assert os_page.main(["--check"]) == 0
