# SPDX-License-Identifier: Apache-2.0
"""`module_utils/lean.py`: what stands for `typing` and `hashlib` in the program does what those do."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import typing

import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import lean

from edgewright.device.areas import AREA_NAMES
from edgewright.device.probe_program import probe_program
from edgewright.paths import collection_root

BODY = '''
class Point(NamedTuple):
    """A place."""

    x: int
    label: str = "none"

    @property
    def twice(self) -> int:
        return self.x * 2
'''


def made(space: dict[str, object]) -> typing.Any:
    exec(compile("from __future__ import annotations\n" + BODY, "body", "exec"), space)  # noqa: S102 - the text above
    return space["Point"]


def test_a_named_tuple_is_typings() -> None:
    ours = made({"NamedTuple": lean.NamedTuple, "__name__": "m"})
    theirs = made({"NamedTuple": typing.NamedTuple, "__name__": "m"})
    assert ours(1) == theirs(1) == (1, "none")
    for name in ("_fields", "_field_defaults", "__doc__", "__module__", "__qualname__", "__name__"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert repr(ours(x=2, label="b")) == repr(theirs(x=2, label="b"))
    assert ours(3).twice == 6
    with pytest.raises(TypeError):
        ours()


def loaded_with(modules: str) -> tuple[list[str], set[str]]:
    """The program's modules, and what Python has loaded once some of them are: in a Python of its own."""
    taking = (
        "import sys\nd={'__name__':'probe'}\nexec(compile(sys.stdin.buffer.read(),'probe','exec'),d)\n"
        "from importlib import import_module\nfrom json import dumps\n"
    )
    loading = f"for n in {modules}: import_module(n)\n"
    telling = "print(dumps([sorted(d['SOURCES']), sorted(sys.modules)]))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", taking + loading + telling],
        input=probe_program().data,
        capture_output=True,
        check=True,
    )
    sources, loaded = json.loads(done.stdout)
    return sources, set(loaded)


def test_each_module_of_the_program_finds_all_names() -> None:
    sources, loaded = loaded_with("d['SOURCES']")
    assert set(sources) <= loaded
    assert len(sources) == len(list((collection_root() / "plugins/module_utils").glob("[!_]*.py")))


def test_debians_readers_load_nothing_that_is_larger_than_they_are() -> None:
    package = "ansible_collections.edgewright.factory.plugins.module_utils."
    _, loaded = loaded_with(repr([package + name for name in ("probe_main", *AREA_NAMES)]))
    assert not {"typing", "subprocess", "threading", "ipaddress", "hashlib", "tempfile"} & loaded


@pytest.mark.parametrize("size", [0, 1, 55, 56, 64, 100_000, 5 * 1024 * 1024])
def test_sha256(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert lean.sha256(data) == hashlib.sha256(data).hexdigest()


def test_sha256_where_python_has_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_sha256", "_sha2"):
        monkeypatch.setitem(sys.modules, name, None)
    assert lean.sha256(b"edgewright") == hashlib.sha256(b"edgewright").hexdigest()
