# SPDX-License-Identifier: Apache-2.0
"""Boot loaders whose configuration is a file to be merged: extlinux (Jetson) and the Raspberry Pi's firmware.

Pure text in, text out, so that what is written can be tested without a device. What is somebody else's
stays: other entries, other parameters, comments, blank lines. Parameters that Edgewright put there earlier
are known by a list kept beside (`OURS`), and only these are ever taken away. Standard library only, Python
3.9 and later; nothing here reads or writes.

    extlinux    /boot/extlinux/extlinux.conf            DEFAULT, LABEL, LINUX, APPEND
    firmware    /boot/firmware/cmdline.txt, config.txt  one line of parameters; kernel=
"""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple, Optional, Tuple

EXTLINUX = "/boot/extlinux/extlinux.conf"
CMDLINE_TXT = "/boot/firmware/cmdline.txt"
CONFIG_TXT = "/boot/firmware/config.txt"
# What Edgewright put on the command line, as a JSON list.
OURS = "/etc/edgewright/boot-parameters.json"
# Where a boot loader shows itself, and its name; the first of a name's files decides what can be read.
SIGNS = (
    ("grub", "/boot/grub/grub.cfg"),
    ("extlinux", EXTLINUX),
    ("firmware", CONFIG_TXT),
    ("snapd", "/var/lib/snapd/modeenv"),
    # Not known to the area, but told by name where found instead.
    ("systemd-boot", "/boot/efi/loader/loader.conf"),
    ("systemd-boot", "/efi/loader/loader.conf"),
    ("u-boot script", "/boot/boot.scr"),
    ("firmware of an older layout", "/boot/config.txt"),
)
LABEL = "edgewright"
BLOCK = "# Edgewright: the kernel of the release"

# Parameters of which the kernel takes the first and refuses another one after it: "nohz_full= must match
# isolcpus=" (kernel/sched/isolation.c, housekeeping_setup, Linux 6.1 and 6.12). Of others the last counts.
FIRST_COUNTS = frozenset({"nohz_full", "isolcpus"})

_TOKEN = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_FALSE = frozenset({"0", "no", "off", "false", "n"})


class Extlinux(NamedTuple):
    """What an extlinux.conf says.

    Attributes:
        default: label that boots by itself; the first one where none is named.
        entries: label to its words, such as LINUX and APPEND, in upper case, to their values.
    """

    default: Optional[str]
    entries: Dict[str, Dict[str, str]]


def split_cmdline(text: str) -> List[str]:
    """Parameters of a kernel command line; a space inside double quotes does not part them."""
    return _TOKEN.findall(text)


def parameter_key(parameter: str) -> str:
    """Name of a parameter; the kernel takes `-` and `_` in it for the same."""
    return parameter.split("=", 1)[0].replace("-", "_")


def wanted_parameters(present: List[str], wanted: List[str]) -> List[str]:
    """The parameters of a command line that bear on the wanted ones.

    Args:
        present: the whole command line, in its order.
        wanted: the parameters that are asked for; only their names matter here.

    Returns:
        For each name, in the order asked for: what the kernel takes. That is the last value for a
        name asked for once, and the last n for one asked for n times, such as `console=`; the first for
        those of which the first counts.
    """
    keys = [parameter_key(parameter) for parameter in wanted]
    found: List[str] = []
    for key in dict.fromkeys(keys):
        same = [parameter for parameter in present if parameter_key(parameter) == key]
        found += same[: keys.count(key)] if key in FIRST_COUNTS else same[-keys.count(key) :]
    return found


class Merged(NamedTuple):
    """A file's new text, or a new command line, and what of it is ours: to be known the next time."""

    text: str
    ours: List[str]


def merge(line: str, wanted: List[str], ours: List[str]) -> Merged:
    """A command line with the wanted parameters, and all that is not ours where it was.

    Args:
        line: the command line as it is.
        wanted: what shall be on it.
        ours: what was put on it earlier, and may go.

    Returns:
        Foreign parameters in their order, then the wanted ones that do not count among them already: these
        are ours. Of a name that is there with another value both stay, and ours, being the last, counts.
    """
    rest = split_cmdline(line)
    for parameter in ours:
        if parameter in rest:
            # The last of equal ones: ours were put at the end.
            rest.reverse()
            rest.remove(parameter)
            rest.reverse()
    counting = wanted_parameters(rest, wanted)
    added = [parameter for parameter in wanted if parameter not in counting]
    return Merged(" ".join([*rest, *added]), added)


def conflicts(present: List[str], wanted: List[str], isolated: str) -> List[str]:
    """Parameters on a command line that undo what is wanted, whatever comes after them.

    Args:
        present: the command line.
        wanted: what shall be on it.
        isolated: list of the CPUs set apart, as the kernel writes it; empty for none.

    Returns:
        The conflicting parameters, as they stand there.
    """
    keys = {parameter_key(parameter): parameter for parameter in wanted}
    found = []
    for parameter in present:
        key = parameter_key(parameter)
        value = parameter.partition("=")[2]
        if key in FIRST_COUNTS and parameter != keys.get(key) and "nohz_full" in keys:
            # isolcpus= begins with flags; the CPUs come after them.
            cpus = [part for part in value.split(",") if part[:1].isdigit()]
            if ",".join(cpus) != keys["nohz_full"].partition("=")[2]:
                found.append(parameter)
        elif not isolated:
            continue
        elif (
            key in ("maxcpus", "nr_cpus", "nosmp")
            or (key == "nohz" and value in _FALSE and "nohz_full" in keys)
            or (key == "cgroup_disable" and "cpuset" in value.split(","))
            or (key == "systemd.unified_cgroup_hierarchy" and value in _FALSE)
        ):
            found.append(parameter)
    return found


def parse_extlinux(text: str) -> Extlinux:
    """Entries of an extlinux.conf. Words are read in any case; of a word given twice the last counts."""
    default: Optional[str] = None
    entries: Dict[str, Dict[str, str]] = {}
    current: Optional[Dict[str, str]] = None
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        word, _, value = line.partition(" ") if " " in line else line.partition("\t")
        word, value = word.upper(), value.strip()
        if word == "DEFAULT":
            default = value
        elif word == "LABEL":
            current = entries.setdefault(value, {})
        elif current is not None:
            current["LINUX" if word == "KERNEL" else word] = value
    return Extlinux(default if default in entries else next(iter(entries), None), entries)


def set_extlinux(text: str, image: str, wanted: List[str], ours: List[str]) -> Merged:
    """An extlinux.conf that boots an image with the wanted parameters by itself.

    The entry that has the image is taken, with its APPEND merged; where none has, one is added, which is
    the present default's with another image. All other entries stay, so that they can be chosen on the
    console.

    Args:
        text: the file as it is.
        image: path of the kernel's image, as LINUX names it.
        wanted: parameters for that entry.
        ours: parameters that were put there earlier.

    Raises:
        ValueError: the file has no entry that boots Linux.
    """
    parsed = parse_extlinux(text)
    if parsed.default is None or not any("LINUX" in entry for entry in parsed.entries.values()):
        raise ValueError("it has no LABEL with a LINUX to boot")
    label = next((name for name, entry in parsed.entries.items() if entry.get("LINUX") == image), None)
    lines = text.splitlines()
    if label is None:
        model = parsed.entries[parsed.default]
        added = {**model, "LINUX": image, "MENU": "LABEL Edgewright"}
        label = LABEL
        lines = _without_entry(lines, LABEL)
        lines += ["", "LABEL " + LABEL, *("      %s %s" % pair for pair in added.items())]
    lines = _set_default(lines, label)
    words = parse_extlinux("\n".join(lines)).entries[label]
    append = merge(words.get("APPEND", ""), wanted, ours)
    return Merged("\n".join(_set_append(lines, label, append.text)) + "\n", append.ours)


def _word(line: str) -> Tuple[str, str]:
    parts = line.split(None, 1)
    return (parts[0].upper(), parts[1].strip() if len(parts) > 1 else "") if parts else ("", "")


def _without_entry(lines: List[str], label: str) -> List[str]:
    kept, inside = [], False
    for line in lines:
        word, value = _word(line)
        if word == "LABEL":
            inside = value == label
        if not inside:
            kept.append(line)
    return kept


def _set_default(lines: List[str], label: str) -> List[str]:
    if any(_word(line)[0] == "DEFAULT" for line in lines):
        return ["DEFAULT " + label if _word(line)[0] == "DEFAULT" else line for line in lines]
    return ["DEFAULT " + label, *lines]


def _set_append(lines: List[str], label: str, append: str) -> List[str]:
    """The same lines with one entry's APPEND; indented as its neighbours are."""
    changed: List[str] = []
    inside, done, last = False, False, -1
    for line in lines:
        word, value = _word(line)
        if word == "LABEL":
            inside = value == label
        if inside and word == "APPEND":
            changed.append(line[: len(line) - len(line.lstrip())] + "APPEND " + append)
            done = True
        else:
            changed.append(line)
        if inside and word and not word.startswith("#"):
            last = len(changed)
    if not done:
        changed.insert(last, "      APPEND " + append)
    return changed


def firmware_kernel(text: str) -> Optional[str]:
    """The image that config.txt names for every board: the last `kernel=` outside of filters but `[all]`."""
    kernel, everywhere = None, True
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("["):
            everywhere = line.lower() == "[all]"
        elif everywhere and line.startswith("kernel="):
            kernel = line.partition("=")[2].strip()
    return kernel


def set_config_txt(text: str, image: str) -> Merged:
    """A config.txt whose last word on the kernel is this image; all else stays.

    Args:
        text: the file as it is.
        image: name of the image on the boot partition.
    """
    lines = text.splitlines()
    if BLOCK in lines:
        start = lines.index(BLOCK)
        # The block is three lines: the comment, the filter, the setting.
        lines = lines[:start] + lines[start + 3 :]
    while lines and not lines[-1].strip():
        lines.pop()
    return Merged("\n".join([*lines, BLOCK, "[all]", "kernel=" + image]) + "\n", [])


def set_cmdline_txt(text: str, wanted: List[str], ours: List[str]) -> Merged:
    """A cmdline.txt with the wanted parameters; it is one line, and stays one.

    Raises:
        ValueError: it has more than one line, of which the firmware reads only the first.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        raise ValueError("it has %d lines, and the firmware reads only the first" % len(lines))
    merged = merge(lines[0] if lines else "", wanted, ours)
    return Merged(merged.text + "\n", merged.ours)
