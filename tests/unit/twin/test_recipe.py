# SPDX-License-Identifier: Apache-2.0
"""The image's name in the cache follows its recipe, and the recipe is a bare device."""

from __future__ import annotations

import json
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest

from edgewright.errors import InputError
from edgewright.twin.image import image_dir, root_offset
from edgewright.twin.recipe import Recipe, container_recipe, in_suite, vm_recipe
from edgewright.twin.snapd_recipe import STANDINS_DIR, snapd_recipe


def test_the_same_recipe_has_the_same_digest() -> None:
    assert vm_recipe().digest == vm_recipe().digest


@pytest.mark.parametrize("field", [field.name for field in fields(Recipe)])
def test_every_field_changes_the_digest(field: str) -> None:
    recipe = vm_recipe()
    old = getattr(recipe, field)
    new = old + 1 if isinstance(old, int) else (*old, "x") if isinstance(old, tuple) else f"{old}x"
    assert replace(recipe, **{field: new}).digest != recipe.digest


def test_kinds_and_architectures_have_images_of_their_own() -> None:
    recipes = [vm_recipe("amd64"), vm_recipe("arm64"), container_recipe(), snapd_recipe()]
    assert len({recipe.label for recipe in recipes}) == 4


def test_the_stand_ins_are_packed_and_settled_by_what_the_digest_covers() -> None:
    recipe = snapd_recipe()
    assert {"snapd", "apparmor"} <= set(recipe.packages)
    assert "mksquashfs" in recipe.hook
    assert f"{STANDINS_DIR}" in recipe.hook
    settle = recipe.hook.split("settle.sh\" <<'END'\n", 1)[1].removesuffix("END\n")
    subprocess.run(["sh", "-n"], input=settle, text=True, check=True)
    assert settle.index("snapd core24") < settle.index("experimental.quota-groups=true")


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path))
    assert image_dir(vm_recipe()) == tmp_path / "twins" / vm_recipe().label


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="no recipe for the architecture 'riscv64'"):
        vm_recipe("riscv64")


def test_a_suite_changes_where_the_packages_come_from_and_nothing_else() -> None:
    plain = vm_recipe()
    assert in_suite(plain, "bookworm") is plain
    other = in_suite(plain, "trixie")
    assert other.sources == (
        "deb archive:debian trixie main",
        "deb archive:debian trixie-updates main",
        "deb archive:debian-security trixie-security main",
    )
    assert replace(other, suite="bookworm", sources=plain.sources) == plain
    with pytest.raises(InputError, match="no recipe for the suite 'sid'"):
        in_suite(plain, "sid")


@pytest.mark.parametrize(
    "recipe", [vm_recipe(), vm_recipe("arm64"), container_recipe(), snapd_recipe()], ids=lambda r: r.label
)
def test_a_bare_device_lacks_what_provisioning_brings(recipe: Recipe) -> None:
    brought = {"openssl", "ca-certificates", "python3-apt", "podman", "nginx", "rt-tests"}
    assert not brought & set(recipe.packages)
    assert all(source.startswith("deb archive:debian") for source in recipe.sources)


@pytest.mark.parametrize(
    "recipe", [vm_recipe(), vm_recipe("arm64"), container_recipe(), snapd_recipe()], ids=lambda r: r.label
)
def test_the_scripts_are_shell(recipe: Recipe) -> None:
    for script in (recipe.setup, recipe.hook):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_the_document_says_it_all() -> None:
    document = json.loads(vm_recipe().document())
    assert document.pop("schema") == "edgewright.twin-recipe/v1"
    assert set(document) == {field.name for field in fields(Recipe)}


def test_the_root_file_system_follows_the_esp() -> None:
    assert root_offset(replace(vm_recipe(), esp_mib=64)) == 65 * 1024 * 1024
