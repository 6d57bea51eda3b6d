# SPDX-License-Identifier: Apache-2.0
"""The command line: its commands are found, and each family of error has its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgewright
from edgewright.cli.main import main
from edgewright.errors import (
    EdgewrightError,
    InputError,
    IntegrityError,
    MissingToolError,
    UnreachableError,
)


def test_version_is_the_one_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == f"edgewright {edgewright.__version__}"


@pytest.mark.parametrize("command", ["twin", "release", "depot", "record"])
def test_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"edgewright {command}" in capsys.readouterr().out


def test_no_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_families_of_errors_have_codes_of_their_own() -> None:
    families = [EdgewrightError, InputError, IntegrityError, UnreachableError, MissingToolError]
    assert [family.exit_code for family in families] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["record", "list", "nowhere"], "no directory nowhere"),
        (["record", "show", "nothing.json"], "nothing.json"),
        (["depot", "build", "nowhere", "-o", "depot"], "nowhere"),
        (["release", "lock", "nowhere"], "nowhere"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_wrong_input_is_told_in_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == InputError.exit_code
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == [], "nothing half done is left"
