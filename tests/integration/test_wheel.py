# SPDX-License-Identifier: Apache-2.0
"""The wheel carries the collection: the same names work from it as from a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (made,) = out.glob("*.whl")
    return made


def test_wheel_holds_roles_and_plugins_and_nothing_of_a_site(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    base = "ansible_collections/edgewright/factory/"
    assert base + "roles/identity/tasks/main.yml" in names
    assert base + "plugins/modules/device_state.py" in names
    assert base + "roles/depot/templates/nginx.conf.j2" in names
    assert any(name.startswith(base + "runtime/src/edgewright_runtime/") for name in names)
    assert "edgewright/py.typed" in names
    assert not [name for name in names if ".edgewright" in name or name.endswith((".key", ".pyc"))]


@pytest.mark.slow
def test_names_work_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    packages = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages), str(wheel)],
        check=True,
    )
    # What the wheel depends on comes from this environment, behind the wheel's own files.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    def run(*code: str) -> str:
        return subprocess.run(
            [str(python), *code],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ANSIBLE"))
            },
        ).stdout

    assert str(packages) in run("-c", "import edgewright; print(edgewright.__file__)")
    listed = json.loads(
        run("-m", "ansible.cli.doc", "-t", "module", "--json", "edgewright.factory.device_state")
    )
    assert listed["edgewright.factory.device_state"]["doc"]["filename"].startswith(str(packages))
    assert "device" in run("-m", "edgewright.cli.main", "--help")
    roles = json.loads(run("-m", "ansible.cli.doc", "-t", "role", "--json", "edgewright.factory.isolation"))
    assert "main" in roles["edgewright.factory.isolation"]["entry_points"]
