#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: boot_files
short_description: Merge the kernel and its parameters into a boot loader's own files
version_added: 0.1.0
description:
  - For boot loaders whose configuration is a file that no program writes - extlinux (Jetson) and the
    Raspberry Pi's firmware.
  - Merges and never replaces. Other entries, other parameters and comments stay. What this module put on
    the command line is kept in C(/etc/edgewright/boot-parameters.json), and only that is taken away again.
  - The first time a file is changed, its text as found is kept beside it, as C(NAME.before-edgewright).
  - Designed from the documents of these boot loaders and tried on their files; not proven on such a device.
author: The Edgewright developers (@edgewright)
attributes:
  check_mode:
    support: full
    description: Reports what would change and changes nothing.
  diff_mode:
    support: full
    description: Gives each text before and after.
options:
  loader:
    description: The boot loader.
    type: str
    required: true
    choices: [extlinux, firmware]
  image:
    description:
      - The kernel's image - the path that LINUX names, or the file on the boot partition that C(kernel=)
        names.
    type: str
    required: true
  parameters:
    description: Kernel parameters that shall be on the command line.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Configure | Boot the real-time kernel with its parameters
  edgewright.factory.boot_files:
    loader: extlinux
    image: /boot/Image.real-time
    parameters: [nohz_full=2-7, rcu_nocbs=2-7]
"""

RETURN = r"""
paths:
  description: The files that changed, or would change.
  returned: always
  type: list
  elements: str
  sample: [/boot/extlinux/extlinux.conf]
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.edgewright.factory.plugins.module_utils import bootloader
from ansible_collections.edgewright.factory.plugins.module_utils.system import LocalSystem, System

KEPT = ".before-edgewright"


class RefusedError(Exception):
    """A file that cannot be merged; the message names it."""


Change = tuple[str, str, str]


def texts(system: System, loader: str, image: str, parameters: list[str]) -> list[Change]:
    """The files of a boot loader, as they are and as they shall be.

    Args:
        system: the device.
        loader: C(extlinux) or C(firmware).
        image: the kernel's image.
        parameters: what shall be on the command line.

    Returns:
        Path, text before and text after of each change, in the order to write them. The list of what is ours
        has both the old and the new parameters while the others are written, so that an end in between
        leaves nothing of ours that is taken for somebody else's.

    Raises:
        RefusedError: a file is missing or cannot be merged; nothing was changed.
    """
    listed = system.read(bootloader.OURS)
    try:
        ours = json.loads(listed or "[]")
    except ValueError:
        ours = None
    if not isinstance(ours, list) or not all(isinstance(each, str) for each in ours):
        raise RefusedError(
            f"{bootloader.OURS} is no list of parameters, so what is ours on the command line cannot be told:"
            " write the parameters that Edgewright set there as a JSON list, or remove the file and them"
        )
    if loader == "extlinux":
        merges: list[tuple[str, Callable[[str], bootloader.Merged]]] = [
            (bootloader.EXTLINUX, lambda text: bootloader.set_extlinux(text, image, parameters, ours))
        ]
    else:
        merges = [
            (bootloader.CMDLINE_TXT, lambda text: bootloader.set_cmdline_txt(text, parameters, ours)),
            (
                bootloader.CONFIG_TXT,
                lambda text: bootloader.set_config_txt(text, image),
            ),
        ]
    files: list[Change] = []
    new: list[str] = []
    for path, change in merges:
        before, merged = _merged(system, loader, path, change)
        new += merged.ours
        if merged.text != before:
            files.append((path, before, merged.text))
    both = json.dumps([*new, *(each for each in ours if each not in new)]) + "\n"
    last = json.dumps(new) + "\n"
    found: list[Change] = []
    if files and listed != both:
        found.append((bootloader.OURS, listed or "", both))
        listed = both
    found += files
    if listed != last:
        found.append((bootloader.OURS, listed or "", last))
    return found


def _merged(
    system: System, loader: str, path: str, change: Callable[[str], bootloader.Merged]
) -> tuple[str, bootloader.Merged]:
    before = system.read(path)
    if before is None:
        raise RefusedError(f"{path} cannot be read: this device does not boot by {loader}")
    try:
        return before, change(before)
    except ValueError as error:
        raise RefusedError(f"{path} cannot be merged: {error}; correct it by hand first") from error


def write(module: AnsibleModule, path: str, text: str) -> None:
    """Replace a file at once; the text as found the first time is kept beside it."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(path) and path != bootloader.OURS and not os.path.exists(path + KEPT):
        shutil.copyfile(path, path + KEPT)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".edgewright-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(temporary, 0o644)
    module.atomic_move(temporary, path)


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            "loader": {"type": "str", "required": True, "choices": ["extlinux", "firmware"]},
            "image": {"type": "str", "required": True},
            "parameters": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        files = texts(LocalSystem(), wanted["loader"], wanted["image"], wanted["parameters"])
    except RefusedError as error:
        module.fail_json(msg=str(error))
    if not module.check_mode:
        for path, _, after in files:
            write(module, path, after)
    module.exit_json(
        changed=bool(files),
        paths=[path for path, _, _ in files],
        diff=[
            {"before_header": path, "after_header": path, "before": before, "after": after}
            for path, before, after in files
        ],
    )


if __name__ == "__main__":
    main()
