# SPDX-License-Identifier: Apache-2.0
"""Python files are compiled for any architecture by a Python of the very same version."""

from __future__ import annotations

import importlib.util
import marshal
import platform
from collections.abc import Mapping
from typing import NoReturn

import pytest

from edgewright.errors import InputError, MissingToolError
from edgewright.release.bytecode import Compilers
from edgewright.release.ocitar import Entry

HERE = platform.python_version()
SHORT = "".join(HERE.split(".")[:2])
SOURCES = {
    "opt/pkg/__init__.py": Entry.file(b"N = {'b', 'a'}\n\ndef f(x):\n    return x in {'u', 'v', 'w'}\n"),
    "opt/pkg/data.txt": Entry.file(b"no source"),
    "opt/link.py": Entry.symlink("pkg/__init__.py"),
}


def _never() -> NoReturn:
    raise AssertionError("a Python of another architecture must not be laid out")


def _foreign(version: str = HERE) -> Compilers:
    return Compilers("riscv64", version, {"riscv64": _never})


def _compiled(sources: Mapping[str, Entry] = SOURCES) -> dict[str, Entry]:
    return _foreign().compile(sources)


def test_a_host_of_another_architecture_compiles_without_running_the_image() -> None:
    found = _compiled()
    assert list(found) == [f"opt/pkg/__pycache__/__init__.cpython-{SHORT}.pyc"]
    data = next(iter(found.values())).data
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(data[4:8], "little") == 1, "by the source's hash, never checked"
    assert marshal.loads(data[16:]).co_filename == "/opt/pkg/__init__.py"  # noqa: S302 - made just now


def test_it_gives_the_same_bytes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = _compiled()
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    assert _compiled() == first


def test_what_does_not_compile_is_told() -> None:
    with pytest.raises(InputError, match="compiling its Python files failed"):
        _compiled({"opt/wrong.py": Entry.file(b"def f(:\n")})


def test_nothing_to_compile_needs_no_python() -> None:
    assert _foreign("3.1.4").compile({"etc/motd": Entry.file(b"")}) == {}


def test_no_python_of_that_version_is_told_with_what_to_do() -> None:
    empty = Compilers("riscv64", "3.1.4", {"riscv64": lambda: LOADER})
    with pytest.raises(MissingToolError, match=r"no Python 3\.1\.4 runs on this .* add a target"):
        empty.compile(SOURCES)


LOADER = {
    "usr/lib/ld-linux-riscv64.so.1": Entry.file(b"\x7fELF of another machine", 0o755),
    "usr/bin/python3.1": Entry.file(b"", 0o755),
}


def test_an_image_without_a_c_library_is_refused() -> None:
    with pytest.raises(InputError, match="holds no libc6"):
        Compilers("riscv64", "3.1.4", {"riscv64": dict}).compile(SOURCES)
