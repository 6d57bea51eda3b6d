# SPDX-License-Identifier: Apache-2.0
"""Changed bundles, seeded: a number names one change for ever, so that a failure can be looked at again.

    with Workshop(place, keys) as shop:
        told = shop.change(4711)          # what was done to shop.stick
        ...
        shop.mend()                       # the stick is right again

Changes know bytes (flips, cuts, growth, exchanges) and structure (fields of each metadata file, their order,
keys written twice, signatures, files of another bundle under the same names, links, pipes, directories,
renamed files).
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgewright.bundle.keys import KeySet
from edgewright.bundle.layout import INDEX
from tests.unit.bundle import sticks

__all__ = ["Workshop"]

_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    10**9,
    10**30,
    1.5,
    "",
    "x",
    "../../outside",
    "/etc/passwd",
    "\u0000",
    "9999-12-31T23:59:59Z",
    "1970-01-01T00:00:00Z",
    "sha512",
    "f" * 64,
    [],
    {},
    [[]],
    {"": {}},
)


class Workshop:
    """A bundle that was accepted, another one by the same keys, one by a stranger, and a stick to spoil.

    Args:
        place: An empty directory; a memory file system makes it fast.
        keys: Who signs the first two.
    """

    def __init__(self, place: Path, keys: KeySet) -> None:
        self.made = sticks.make(place, keys, "right")
        self.other = sticks.make(place, keys, "other", {"x": b"other", "empty": b""}, days=1)
        self.stranger = sticks.make(place / "strange", KeySet.develop(place / "strange-keys"))
        self.stick = sticks.copy_stick(self.made.stick, place / "stick")
        self._files = {
            str(path.relative_to(self.stick)): path.read_bytes()
            for path in sorted(self.stick.rglob("*"))
            if path.is_file()
        }
        self._metadata = [name for name in self._files if name.startswith("metadata/")]

    @property
    def names(self) -> list[str]:
        """The stick's files."""
        return list(self._files)

    def mend(self) -> None:
        """Make the stick right again."""
        for path in sorted(self.stick.rglob("*"), reverse=True):
            name = str(path.relative_to(self.stick))
            if path.is_dir() and not path.is_symlink():
                if not any(known.startswith(f"{name}/") for known in self._files):
                    shutil.rmtree(path)
            elif name not in self._files or not path.is_file() or path.is_symlink():
                path.unlink()
        for name, data in self._files.items():
            path = self.stick / name
            if path.is_dir():
                shutil.rmtree(path)
            if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def change(self, seed: int) -> str:
        """Spoil the stick.

        Args:
            seed: Which change.

        Returns:
            What was done. The stick differs from a right one in at least a byte or a kind of file.
        """
        dice = random.Random(seed)  # noqa: S311 - the same changes each time
        while True:
            kind = dice.choice(_KINDS)
            told = kind(self, dice)
            if told is not None:
                return f"{seed}: {kind.__name__.strip('_')}: {told}"

    def _put(self, name: str, data: bytes) -> str | None:
        if data == self._files[name]:
            return None
        (self.stick / name).write_bytes(data)
        return name


def _flip_bit(shop: Workshop, dice: random.Random) -> str | None:
    name = dice.choice(shop.names)
    data = bytearray(shop._files[name])
    if not data:
        return None
    at = dice.choice([0, len(data) // 2, len(data) - 1, dice.randrange(len(data))])
    bit = dice.randrange(8)
    data[at] ^= 1 << bit
    shop._put(name, bytes(data))
    return f"{name} bit {bit} of byte {at}"


def _cut_or_grow(shop: Workshop, dice: random.Random) -> str | None:
    name = dice.choice(shop.names)
    data = shop._files[name]
    size = dice.choice(
        [0, len(data) // 2, len(data) - 1, len(data) + 1, len(data) * 2 + 1, dice.randrange(3000)]
    )
    if size < 0 or size == len(data):
        return None
    shop._put(name, (data + b"\0" * size)[:size])
    return f"{name} to {size} bytes"


def _zero_block(shop: Workshop, dice: random.Random) -> str | None:
    name = dice.choice(shop.names)
    data = shop._files[name]
    if not data:
        return None
    at = dice.randrange(len(data))
    size = dice.randrange(1, 512)
    done = shop._put(name, data[:at] + bytes(min(size, len(data) - at)) + data[at + size :])
    return done and f"{name} zeroes at {at}"


def _move_bytes(shop: Workshop, dice: random.Random) -> str | None:
    name = dice.choice(shop.names)
    data = shop._files[name]
    if len(data) < 8:
        return None
    at, to = sorted(dice.sample(range(len(data)), 2))
    done = shop._put(name, data[at:to] + data[:at] + data[to:])
    return done and f"{name} bytes {at} to {to} first"


def _remove(shop: Workshop, dice: random.Random) -> str | None:
    name = dice.choice(shop.names)
    (shop.stick / name).unlink()
    return name


def _add(shop: Workshop, dice: random.Random) -> str | None:
    above = dice.choice(["", "targets/", "targets/blobs/", "metadata/", "installer/", "installer/wheels/"])
    own = dice.choice(
        ["x", ".hidden", "2.root.json", "7.snapshot.json", "timestamp.json.bak", "a b", "\u00fc", "f" * 64]
    )
    name = above + own
    if name in shop._files:
        return None
    if dice.random() < 0.2:
        (shop.stick / name).mkdir()
    else:
        (shop.stick / name).write_bytes(dice.choice([b"", b"{}", shop._files["metadata/1.root.json"]]))
    return name


def _rename(shop: Workshop, dice: random.Random) -> str | None:
    name = dice.choice(shop.names)
    new = dice.choice(
        [name.upper(), f"{name}~", f"{name}.000", name.replace("1", "2"), f"targets/{name.replace('/', '-')}"]
    )
    if new == name or (shop.stick / new).exists():
        return None
    (shop.stick / new).parent.mkdir(parents=True, exist_ok=True)
    (shop.stick / name).rename(shop.stick / new)
    return f"{name} to {new}"


def _exchange(shop: Workshop, dice: random.Random) -> str | None:
    one, two = dice.sample(shop.names, 2)
    if shop._files[one] == shop._files[two]:
        return None
    shop._put(one, shop._files[two])
    shop._put(two, shop._files[one])
    return f"{one} and {two}"


def _other_kind(shop: Workshop, dice: random.Random) -> str | None:
    name = dice.choice([*shop.names, "targets", "metadata", "targets/blobs", "installer"])
    path = shop.stick / name
    aside = shop.made.stick / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    how = dice.choice(["link", "right link", "dangling", "loop", "pipe", "directory"])
    if how == "link":
        path.symlink_to("/etc/hostname")
    elif how == "right link":
        path.symlink_to(aside)
    elif how == "dangling":
        path.symlink_to("nowhere")
    elif how == "loop":
        path.symlink_to(path.name)
    elif how == "pipe":
        os.mkfifo(path)
    elif name in shop._files:
        path.mkdir()
    else:
        path.write_bytes(b"")
    return f"{name} is now a {how}"


def _from_another(shop: Workshop, dice: random.Random) -> str | None:
    """Files of a newer bundle by the same keys, or of a stranger's, in place of or beside the right ones."""
    source = dice.choice([shop.other, shop.stranger]).stick
    files = sorted(path for path in source.rglob("*") if path.is_file())
    if dice.random() < 0.5:
        files = [path for path in files if path.parent.name == "metadata"]
    chosen = dice.sample(files, dice.randrange(1, min(6, len(files))))
    done = []
    for path in chosen:
        name = str(path.relative_to(source))
        role = path.name.split(".", 1)[-1]
        if path.parent.name == "metadata" and dice.random() < 0.5:
            name = f"metadata/1.{role}" if path.name[0].isdigit() else name
        if shop._files.get(name) != path.read_bytes():
            (shop.stick / name).parent.mkdir(parents=True, exist_ok=True)
            (shop.stick / name).write_bytes(path.read_bytes())
            done.append(name)
    return f"{source.name}: {', '.join(done)}" if done else None


def _json_places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    if isinstance(value, dict):
        for key in value:
            found += _json_places(value[key], (*at, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += _json_places(item, (*at, number))
    return found


def _json(shop: Workshop, dice: random.Random) -> str | None:
    """A field of a metadata file or of the index: another value, gone, twice, renamed, nested."""
    name = dice.choice([*shop._metadata, INDEX])
    content = json.loads(shop._files[name])
    place = dice.choice(_json_places(content)[1:])
    holder = content
    for step in place[:-1]:
        holder = holder[step]
    last = place[-1]
    how = dice.choice(["value", "value", "gone", "renamed", "nested", "number", "text", "copied", "added"])
    if how == "value":
        holder[last] = dice.choice(_ODD)
    elif how == "gone":
        del holder[last]
    elif how == "renamed" and isinstance(holder, dict):
        holder[dice.choice(["x", "", "__proto__", str(last).upper(), "../x"])] = holder.pop(last)
    elif how == "nested":
        for _ in range(dice.choice([1, 5, 50, 400])):
            holder[last] = dice.choice([[holder[last]], {"a": holder[last]}])
    elif how == "number" and isinstance(holder[last], int):
        holder[last] += dice.choice([-1, 1, 10, 1 << 40])
    elif how == "text" and isinstance(holder[last], str) and holder[last]:
        text = holder[last]
        cut = dice.randrange(len(text))
        holder[last] = text[:cut] + dice.choice("0a/.\u00e9") + text[cut + 1 :]
    elif how == "copied" and isinstance(holder, list):
        holder.append(holder[last])
    elif how == "added" and isinstance(holder, dict):
        holder[dice.choice(["x", "custom", "unrecognized", "delegations", "sha512"])] = dice.choice(_ODD)
    else:
        return None
    data = json.dumps(content, sort_keys=dice.random() < 0.8, separators=(",", ":")).encode()
    done = shop._put(name, data)
    return done and f"{name} {'.'.join(map(str, place))} {how}"


def _spelling(shop: Workshop, dice: random.Random) -> str | None:
    """The same JSON in other bytes."""
    name = dice.choice([*shop._metadata, INDEX])
    data = shop._files[name]
    content = json.loads(data)
    how = dice.choice(
        ["order", "spaces", "indent", "end", "start", "escape", "twice", "bom", "utf16", "hex", "gaps"]
    )
    if how == "order":
        changed = json.dumps(_shuffled(content, dice), separators=(",", ":")).encode()
    elif how == "spaces":
        changed = json.dumps(content, sort_keys=True).encode()
    elif how == "indent":
        changed = json.dumps(content, sort_keys=True, indent=dice.randrange(8)).encode()
    elif how == "end":
        changed = data + dice.choice([b" ", b"\n", b"\0", b"{}", b"//"])
    elif how == "start":
        changed = dice.choice([b" ", b"\n", b"\t"]) + data
    elif how == "escape":
        changed = data.replace(b"sha256", b"\\u0073ha256", 1).replace(
            b"spec_version", b"spec\\u005fversion", 1
        )
    elif how in ("hex", "gaps"):  # bytes.fromhex, which reads signatures, takes either
        for signature in content.get("signatures", []):
            text = signature["sig"]
            at = dice.randrange(1, len(text) // 2) * 2
            signature["sig"] = text.upper() if how == "hex" else f"{text[:at]} {text[at:]}"
        changed = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    elif how == "twice":
        at = dice.choice([at for at, letter in enumerate(data) if letter == ord("{")])
        changed = data[: at + 1] + b'"version":9,"signed":{},"length":1,' + data[at + 1 :]
    else:
        changed = data.decode().encode("utf-8-sig" if how == "bom" else "utf-16")
    done = shop._put(name, changed)
    return done and f"{name} {how}"


def _shuffled(value: Any, dice: random.Random) -> Any:
    if isinstance(value, dict):
        items = list(value.items())
        dice.shuffle(items)
        return {key: _shuffled(item, dice) for key, item in items}
    if isinstance(value, list):
        mixed = [_shuffled(item, dice) for item in value]
        dice.shuffle(mixed)
        return mixed
    return value


def _signatures(shop: Workshop, dice: random.Random) -> str | None:
    """Signatures of other files, of strangers, doubled, gone."""
    name = dice.choice(shop._metadata)
    content = json.loads(shop._files[name])
    source = dice.choice([shop.made, shop.other, shop.stranger]).stick
    others = []
    for path in sorted((source / "metadata").iterdir()):
        others += json.loads(path.read_bytes())["signatures"]
    how = dice.choice(["instead", "more", "fewer", "keyid", "doubled"])
    signatures = content["signatures"]
    if how == "instead":
        signatures[dice.randrange(len(signatures))] = dice.choice(others)
    elif how == "more":
        signatures.insert(dice.randrange(len(signatures) + 1), dice.choice(others))
    elif how == "fewer":
        signatures.pop(dice.randrange(len(signatures)))
    elif how == "keyid":
        dice.choice(signatures)["keyid"] = dice.choice(others)["keyid"]
    else:
        signatures.append(dict(dice.choice(signatures)))
    done = shop._put(name, json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
    return done and f"{name} {how}"


def _bomb(shop: Workshop, dice: random.Random) -> str | None:
    name = dice.choice([*shop._metadata, INDEX])
    size = dice.choice([100, 5_000, 60_000])
    data = dice.choice(
        [
            b"[" * size,
            b'{"a":' * size,
            b"[" * size + b"]" * size,
            b'"' + b"\\" * size,
            b"1" * size,
            b"[" + b"1," * size + b"1]",
            b'{"signed":' * (size // 50) + b"1" + b"}" * (size // 50),
            b"\0" * size,
            b" " * size,
        ]
    )
    if dice.random() < 0.2:
        shop._put(name, b"x")
        os.truncate(shop.stick / name, 1 << dice.choice([20, 30, 40]))
        return f"{name} is sparse and huge"
    done = shop._put(name, data)
    return done and f"{name} {data[:12]!r} x {size}"


def _several(shop: Workshop, dice: random.Random) -> str | None:
    """Changes of different kinds at once; the added file alone makes the stick wrong."""
    done = [_add(shop, dice), _flip_bit(shop, dice), _zero_block(shop, dice)]
    return "; ".join(text for text in done if text) if done[0] else None


_KINDS: tuple[Callable[[Workshop, random.Random], str | None], ...] = (
    _flip_bit,
    _flip_bit,
    _cut_or_grow,
    _zero_block,
    _move_bytes,
    _remove,
    _add,
    _rename,
    _exchange,
    _other_kind,
    _from_another,
    _json,
    _json,
    _json,
    _json,
    _spelling,
    _signatures,
    _bomb,
    _several,
)
