# SPDX-License-Identifier: Apache-2.0
"""Commands are found, timed, and their failures told with their own words."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from edgewright.errors import EdgewrightError, MissingToolError, UnreachableError
from edgewright.twin.spec import TwinSpec
from edgewright.twin.ssh import speaks_ssh, ssh_command, wait_for_ssh
from edgewright.twin.tools import as_root, need, run_logged, run_quiet, say_nothing, tail


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_kwargs: None)
    with pytest.raises(MissingToolError, match="run: apt-get install e2fsprogs mtools"):
        need("mke2fs", "debugfs", "mcopy")


@pytest.mark.parametrize(
    ("uid", "sudo", "argv"),
    [
        pytest.param(0, None, ["rm", "x"], id="root"),
        pytest.param(1000, "#!/bin/sh\nexit 0\n", ["sudo", "-n", "rm", "x"], id="a user of sudo"),
    ],
)
def test_root_is_taken_where_it_is_to_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, sudo: str | None, argv: list[str]
) -> None:
    _become(monkeypatch, tmp_path, uid, sudo)
    assert as_root(["rm", "x"], "removing x") == argv


@pytest.mark.parametrize(
    "sudo",
    [pytest.param(None, id="no sudo"), pytest.param("#!/bin/sh\nexit 1\n", id="a sudo that asks")],
)
def test_without_root_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sudo: str | None
) -> None:
    _become(monkeypatch, tmp_path, 1000, sudo)
    with pytest.raises(
        EdgewrightError, match="removing x: this takes root; run the same command as root, or"
    ):
        as_root(["rm", "x"], "removing x")


def _become(monkeypatch: pytest.MonkeyPatch, folder: Path, uid: int, sudo: str | None) -> None:
    """A user of this id, whose only program is this script of sudo, or none."""
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setenv("PATH", str(folder))
    if sudo is not None:
        (folder / "sudo").write_text(sudo)
        (folder / "sudo").chmod(0o755)


def test_a_failing_command_is_quoted() -> None:
    with pytest.raises(EdgewrightError, match="making it: sh ended with status 3: oh no"):
        run_quiet(["sh", "-c", "echo oh no >&2; exit 3"], "making it")


def test_a_long_command_tells_how_far_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    log = tmp_path / "log"
    run_logged(["sh", "-c", "echo step one; sleep 0.5"], "making it", log, said.append, every_s=0.2)
    assert said
    assert said[0].startswith("making it: 0 s")
    assert said[-1].endswith("step one")


def test_a_failing_long_command_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(EdgewrightError, match=r"status 1; the end of .*\nlast words"):
        run_logged(["sh", "-c", "echo last words; exit 1"], "making it", tmp_path / "log", say_nothing)


def test_tail_is_readable(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\r\n\x1b[0mtwo\n\n\xffthree\n")
    assert tail(log, 2) == "[0mtwo\n\ufffdthree"
    assert tail(tmp_path / "none") == ""


def _spec(state: Path, port: int) -> TwinSpec:
    return TwinSpec(name="edge-01", kind="vm", state_dir=state, port=port)


def test_ssh_always_checks_the_host_key(tmp_path: Path) -> None:
    argv = ssh_command(_spec(tmp_path, 2201), ["uname", "-r"])
    assert "StrictHostKeyChecking=yes" in argv
    assert f"UserKnownHostsFile={tmp_path}/known_hosts" in argv
    assert argv[-3:] == ["root@127.0.0.1", "uname", "-r"]


@pytest.mark.parametrize(
    ("greeting", "expected"), [(b"SSH-2.0-x\r\n", True), (b"HTTP/1.1", False), (b"", False)]
)
def test_an_open_port_alone_is_no_ssh(tmp_path: Path, greeting: bytes, expected: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            link, _ = server.accept()
            with link:
                link.sendall(greeting)

        thread = threading.Thread(target=greet)
        thread.start()
        assert speaks_ssh(_spec(tmp_path, server.getsockname()[1])) is expected
        thread.join(5)


@pytest.mark.parametrize(
    ("alive", "says"), [(False, "it ended after"), (True, r"no ssh .* within 0 s \(last phase: kernel\)")]
)
def test_the_wait_ends_with_a_reason(tmp_path: Path, alive: bool, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(UnreachableError, match=says):
        wait_for_ssh(
            _spec(tmp_path, port),
            phase=lambda: "kernel",
            alive=lambda: alive,
            say=say_nothing,
            timeout_s=0.01,
        )


def test_a_command_that_does_not_listen_is_ended_when_its_telling_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As unshare, which blocks SIGTERM; whoever waits would otherwise wait for its end."""
    monkeypatch.setattr("edgewright.twin.tools._GRACE_S", 0.2)

    def fail(_: str) -> None:
        raise KeyboardInterrupt

    deaf = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"
    with pytest.raises(KeyboardInterrupt):
        run_logged(["sh", "-c", deaf], "making it", tmp_path / "log", fail, every_s=0.3)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
