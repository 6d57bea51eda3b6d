# SPDX-License-Identifier: Apache-2.0
"""`module_utils/spawn.py`: what it does with real commands is what `subprocess` does with them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import spawn
from ansible_collections.edgewright.factory.plugins.module_utils.system import LocalSystem, Result

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "KEPT": "a b"}
# More than a pipe holds, to both; so that neither waits for the other.
MUCH = "i=0; while [ $i -lt 2000 ]; do printf '%0200d' $i; printf '%0200d' $i >&2; i=$((i+1)); done"


@pytest.mark.parametrize(
    "argv",
    [
        ["true"],
        ["false"],
        ["sh", "-c", "echo out; echo err >&2; exit 7"],
        ["sh", "-c", MUCH],
        ["sh", "-c", "kill -9 $$"],
        ["sh", "-c", "cat; echo after"],
        ["/bin/sh", "-c", "echo $KEPT; env | sort | grep -v '^_='; pwd"],
        ["sh", "-c", "trap '' TERM; exec 1>&- 2>&-; sleep 0.05; exit 3"],
        ["printf", "\\377\\0"],
    ],
    ids=["ok", "fails", "both", "much", "killed", "no input", "environment", "ends late", "bytes"],
)
def test_as_subprocess(argv: list[str]) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT, check=False, timeout=30
    )
    assert spawn.run(argv, ENVIRONMENT, 30.0) == (done.returncode, done.stdout, done.stderr)


def test_a_command_has_the_signals_that_python_ignores() -> None:
    status, out, _ = spawn.run(["grep", "SigIgn", "/proc/self/status"], ENVIRONMENT, 30.0)
    ignored = int(out.split()[1], 16)
    assert status == 0
    assert not [number for number in (13, 25) if ignored >> (number - 1) & 1]


def test_no_descriptor_and_no_process_is_left() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for argv in (["true"], ["no-such-program"], ["sh", "-c", "sleep 60"]):
        with contextlib.suppress(FileNotFoundError, spawn.TimeUpError):
            spawn.run(argv, ENVIRONMENT, 0.2)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "sleep 60" in Path(f"/proc/{pid}/cmdline").read_text()]


@pytest.mark.parametrize(
    "script",
    ["sleep 60", "exec 1>&- 2>&-; sleep 60", "sleep 60 & echo started"],
    ids=["says nothing", "has closed its output", "leaves a child with its output"],
)
def test_what_does_not_end_is_killed(script: str) -> None:
    with pytest.raises(spawn.TimeUpError):
        spawn.run(["sh", "-c", script], ENVIRONMENT, 0.3)


def test_the_system_words_it(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program\n")
    text.chmod(0o755)
    (tmp_path / "plain").write_text("")
    system = LocalSystem()
    assert system.run(["no-such-program", "x"]) == Result(127, "", "no such program: no-such-program")
    assert system.run([str(tmp_path / "none")]).rc == 127
    assert system.run([str(text)]).rc == 126
    assert system.run([str(tmp_path / "plain")]).rc == 126
    assert system.run(["sleep", "60"], timeout_s=0.2) == Result(124, "", "no answer within 0.2 s")
    assert system.run(["sh", "-c", "echo é; exit 4"]) == Result(4, "é\n", "")
