# SPDX-License-Identifier: Apache-2.0
"""Another architecture's compiler: emulated where the kernel has an interpreter at hand, else refused."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edgewright.errors import MissingToolError
from edgewright.modules.host import ensure_runs

ARM = "magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00\n"
RIGHT = f"enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: POF\noffset 0\n{ARM}"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_this_hosts_own_runs_whatever_is_registered(tmp_path: Path) -> None:
    assert ensure_runs("amd64", "building x", tmp_path) is False


def test_another_runs_emulated(tmp_path: Path) -> None:
    (tmp_path / "register").mkdir()  # the kernel's own file of this name cannot be read
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "qemu-aarch64").write_text(RIGHT)
    assert ensure_runs("arm64", "building x", tmp_path) is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no emulator is registered for it"),
        (RIGHT.replace("enabled", "disabled"), "qemu-aarch64 is disabled"),
        (RIGHT.replace("POF", "PO"), "qemu-aarch64 is without the flag F"),
        (RIGHT.replace("b700", "f300"), "no emulator is registered for it"),
    ],
    ids=["none", "disabled", "not held open", "another's"],
)
def test_what_does_not_run_is_refused_with_what_to_do(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "qemu-aarch64").write_text(text)
    with pytest.raises(MissingToolError, match=said) as refused:
        ensure_runs("arm64", "building x", tmp_path)
    assert "building x: its compiler is one of arm64, this host is amd64" in str(refused.value)
    assert "lock and build the release on an arm64 host, or install qemu-user-static" in str(refused.value)
    with pytest.raises(MissingToolError, match="one of riscv64"):
        ensure_runs("riscv64", "building x", tmp_path)
