# SPDX-License-Identifier: Apache-2.0
"""GRUB's script for counted boots: the role's template, run as grub-mkconfig runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest
from ansible_collections.edgewright.factory.plugins.module_utils import kernel as reader

from edgewright.paths import collection_root

TEMPLATES = collection_root() / "roles" / "kernel" / "templates"
LOCKED = "6.1.0-56-rt-amd64"
OLD = "6.1.0-55-amd64"
MENU = """
set default="gnulinux-advanced-U>gnulinux-6.1.0-56-rt-amd64-advanced-U"
%s
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-U' {
	menuentry 'locked' $menuentry_id_option 'gnulinux-6.1.0-56-rt-amd64-advanced-U' {
		linux	/boot/vmlinuz-6.1.0-56-rt-amd64 root=U ro
	}
	menuentry 'old' $menuentry_id_option 'gnulinux-6.1.0-55-amd64-advanced-U' {
		linux	/boot/vmlinuz-6.1.0-55-amd64 root=U ro
	}
}
"""


def script(tries: int, boot: Path) -> str:
    """The script as the role writes it, with another directory for the kernels."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - shell
    environment.filters["comment"] = lambda text: f"# {text}"
    template = environment.from_string((TEMPLATES / "06_edgewright.j2").read_text())
    wanted = {"release": LOCKED, "at": {"tries": tries}}
    return template.render(ansible_managed="managed", __kernel_want=wanted).replace("/boot/", f"{boot}/")


def emitted(tmp_path: Path, kernels: list[str], tries: int = 3, **environment: str) -> str:
    for release in kernels:
        (tmp_path / f"vmlinuz-{release}").write_bytes(b"")
    done = subprocess.run(
        ["sh", "-s"],
        input=script(tries, tmp_path),
        env={"PATH": os.environ["PATH"], "GRUB_DEVICE_UUID": "U", "GRUB_DEVICE": "/dev/x", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def boots(text: str, failures: str) -> str | None:
    environment = {"edgewright_failures": failures} if failures else {}
    return reader.entry_release(reader.chosen_entry(MENU % text, environment))


def test_the_locked_kernel_boots_until_it_failed_as_often_as_it_may(tmp_path: Path) -> None:
    text = emitted(tmp_path, [LOCKED, OLD])
    assert [boots(text, failures) for failures in ("", "1", "2", "3")] == [LOCKED, LOCKED, LOCKED, OLD]
    assert "save_env" in text


def test_each_boot_is_counted_once(tmp_path: Path) -> None:
    lines = [line.strip() for line in emitted(tmp_path, [LOCKED, OLD], 2).splitlines()]
    tests = [line for line in lines if line.startswith(("if [", "elif [")) and "failures" in line]
    assert tests == [
        'if [ "${edgewright_failures}" = "2" ]; then',
        'elif [ "${edgewright_failures}" = "1" ]; then',
    ]
    assert [line for line in lines if line.startswith("set edgewright_failures")] == [
        'set edgewright_failures="2"',
        'set edgewright_failures="1"',
    ]


def test_the_newest_other_kernel_is_the_fallback(tmp_path: Path) -> None:
    text = emitted(tmp_path, [LOCKED, "6.1.0-9-amd64", OLD])
    assert f'set edgewright_fallback="gnulinux-advanced-U>gnulinux-{OLD}-advanced-U"' in text


def test_a_menu_without_a_submenu(tmp_path: Path) -> None:
    text = emitted(tmp_path, [LOCKED, OLD], GRUB_DISABLE_SUBMENU="y")
    assert f'set edgewright_fallback="gnulinux-{OLD}-advanced-U"' in text


def test_without_another_kernel_or_without_counting_nothing_is_written(tmp_path: Path) -> None:
    assert emitted(tmp_path, [LOCKED]) == ""
    assert emitted(tmp_path, [LOCKED, OLD], 0) == ""


@pytest.mark.skipif(not shutil.which("grub-script-check"), reason="needs grub-script-check (grub-common)")
@pytest.mark.parametrize("tries", [1, 3, 9])
def test_grub_takes_it(tmp_path: Path, tries: int) -> None:
    menu = tmp_path / "grub.cfg"
    menu.write_text(MENU % emitted(tmp_path, [LOCKED, OLD], tries))
    done = subprocess.run(["grub-script-check", str(menu)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
