# SPDX-License-Identifier: Apache-2.0
"""The module file_set as Ansible runs it, on this host: check, real, check, real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ANSIBLE = Path(sys.executable).with_name("ansible")


def run(files: list[dict[str, Any]], check: bool = False) -> dict[str, Any]:
    """Run the module once. Returns its result, with `failed` in it."""
    argv = [str(ANSIBLE), "localhost", "-c", "local", "-i", "localhost,", "--one-line", "--diff"]
    argv += ["-e", f"ansible_python_interpreter={sys.executable}", "-m", "edgewright.factory.file_set"]
    argv += ["-a", json.dumps({"files": files}), *(["--check"] if check else [])]
    environment = {
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
        "ANSIBLE_FORCE_COLOR": "0",
        "LC_ALL": "C.UTF-8",
    }
    environment |= {"HOME": str(Path.home()), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    line = next(line for line in done.stdout.splitlines() if line.startswith("localhost | "))
    result: dict[str, Any] = json.loads(line[line.index("=> ") + 3 :])
    return result | {"failed": "| FAILED!" in line}


@pytest.fixture
def files(tmp_path: Path) -> list[dict[str, Any]]:
    (tmp_path / "sources.list").write_text("deb http://foreign.example ./\n")
    return [
        {"path": f"{tmp_path}/new/directory", "state": "directory", "mode": "0750"},
        {"path": f"{tmp_path}/new/directory/settings", "content": "a = 1\n", "mode": "0640"},
        {"path": f"{tmp_path}/new/link", "state": "link", "target": "/etc/hostname"},
        {"path": f"{tmp_path}/sources.list", "state": "moved", "target": f"{tmp_path}/kept"},
    ]


@pytest.mark.slow
def test_check_real_check_real(files: list[dict[str, Any]], tmp_path: Path) -> None:
    paths = [entry["path"] for entry in files]
    checked = run(files, check=True)
    assert (checked["changed"], checked["paths"]) == (True, paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sources.list"]

    done = run(files)
    assert (done["changed"], done["paths"]) == (True, paths)
    assert (tmp_path / "new/directory/settings").read_text() == "a = 1\n"
    assert (tmp_path / "new/directory/settings").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "new/directory").stat().st_mode & 0o7777 == 0o750
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "new/link").readlink() == Path("/etc/hostname")
    assert not (tmp_path / "sources.list").exists()
    assert (tmp_path / f"kept{tmp_path}/sources.list").read_text() == "deb http://foreign.example ./\n"

    assert run(files, check=True)["changed"] is False
    assert run(files)["changed"] is False


@pytest.mark.slow
def test_what_was_changed_behind_its_back_is_mended(files: list[dict[str, Any]], tmp_path: Path) -> None:
    run(files)
    (tmp_path / "new/directory/settings").chmod(0o666)
    (tmp_path / "new/link").unlink()
    (tmp_path / "new/link").write_text("a file in the link's place")
    (tmp_path / "sources.list").write_text("deb http://again.example ./\n")
    done = run(files)
    assert done["paths"] == [files[1]["path"], files[2]["path"], files[3]["path"]]
    assert (tmp_path / "new/directory/settings").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "new/link").is_symlink()
    kept = tmp_path / f"kept{tmp_path}"
    assert (kept / "sources.list").read_text() == "deb http://foreign.example ./\n"
    assert (kept / "sources.list.2").read_text() == "deb http://again.example ./\n"


@pytest.mark.slow
def test_a_link_gives_way_to_a_file_and_its_target_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("untouched")
    (tmp_path / "policy.json").symlink_to(tmp_path / "target")
    run([{"path": f"{tmp_path}/policy.json", "content": "{}", "mode": "0644"}])
    assert (tmp_path / "target").read_text() == "untouched"
    assert not (tmp_path / "policy.json").is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"path": "relative", "content": "", "mode": "0644"}, "'relative' is not an absolute path"),
        ({"path": "/x/y", "mode": "0644"}, "/x/y: state file needs 'content'"),
        (
            {"path": "/x/y", "content": "", "mode": "u=rw"},
            "expected an octal mode such as '0644', got 'u=rw'",
        ),
        ({"path": "/etc", "content": "", "mode": "0644"}, "cannot write /etc: it is a directory"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_by_path(entry: dict[str, Any], words: str) -> None:
    result = run([entry], check=True)
    assert result["failed"] is True
    assert words in result["msg"]
