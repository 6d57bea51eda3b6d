#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Put a set of files, links and directories in place in one round trip
version_added: 0.1.0
description:
  - Does for a whole set what M(ansible.builtin.copy) and M(ansible.builtin.file) do for one file each.
  - Each task costs a start of Python on the device, 3 to 9 seconds on a slow or emulated one, and
    M(ansible.builtin.copy) takes two; a set of eight files costs one start here.
  - The entries are handled in their order. Nothing is removed - a file that must go is moved aside and kept.
author: The Edgewright developers (@edgewright)
attributes:
  check_mode:
    support: full
    description: Reports what would change and changes nothing.
  diff_mode:
    support: full
    description: Gives each text before and after.
options:
  files:
    description: What shall be, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path on the device.
        type: path
        required: true
      state:
        description:
          - V(file) is a regular file with O(files[].content).
          - V(link) is a symbolic link to O(files[].target).
          - V(directory) is a directory; missing parents are made with mode 0755.
          - V(moved) is a path at which nothing is; what is there is moved below O(files[].target), with its
            own path kept, so C(/etc/apt/sources.list) becomes C(TARGET/etc/apt/sources.list).
        type: str
        choices: [file, link, directory, moved]
        default: file
      content:
        description: The file's text, written as UTF-8.
        type: str
      target:
        description: Where a link leads, or the directory below which a moved file is kept.
        type: path
      mode:
        description: Octal mode such as V("0644"). Required for V(file) and V(directory).
        type: str
      owner:
        description: Name of the owner; unchanged when not given.
        type: str
      group:
        description: Name of the group; unchanged when not given.
        type: str
seealso:
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Install | Put the depot's settings in place
  edgewright.factory.file_set:
    files:
      - path: /etc/containers/certs.d/10.0.2.100:8443
        state: directory
        mode: "0755"
      - path: /etc/containers/certs.d/10.0.2.100:8443/ca.crt
        state: link
        target: /etc/edgewright/identity/site-root.crt
      - path: /etc/containers/policy.json
        content: '{"default": [{"type": "reject"}]}'
        mode: "0644"
      - path: /etc/apt/sources.list
        state: moved
        target: /var/lib/edgewright/depot_client/replaced
"""

RETURN = r"""
paths:
  description: The paths that changed, or would change, in the order given.
  returned: always
  type: list
  elements: str
  sample: [/etc/containers/policy.json]
"""

import os
import re
import tempfile
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule


class RefusedError(Exception):
    """An entry that can't be done; the message names its path."""


def check_entry(entry: dict[str, Any]) -> None:
    """Refuse an entry that does not say what its state needs.

    Raises:
        RefusedError: names the path and what is missing.
    """
    path, state = entry["path"], entry["state"]
    if not os.path.isabs(path):
        raise RefusedError(f"files: {path!r} is not an absolute path")
    needed = {"file": ("content", "mode"), "directory": ("mode",), "link": ("target",), "moved": ("target",)}
    for name in needed[state]:
        if entry[name] is None:
            raise RefusedError(f"files: {path}: state {state} needs {name!r}")
    if entry["mode"] is not None and not re.match(r"0?[0-7]{3,4}$", entry["mode"]):
        raise RefusedError(
            "files: {}: expected an octal mode such as '0644', got {!r}".format(path, entry["mode"])
        )


def ensure_parents(module: AnsibleModule, path: str) -> None:
    """Make the directories above a path, with mode 0755 whatever the umask is."""
    parent = os.path.dirname(path)
    if os.path.isdir(parent) or module.check_mode:
        return
    ensure_parents(module, parent)
    os.mkdir(parent)
    os.chmod(parent, 0o755)  # noqa: S103 - a directory of settings that every program reads


def apply_access(module: AnsibleModule, entry: dict[str, Any], changed: bool) -> bool:
    """Set mode and owner where they differ; a path that check mode has not made counts as changed."""
    path = entry["path"]
    if module.check_mode and not os.path.lexists(path):
        return True
    changed = module.set_mode_if_different(path, entry["mode"], changed)
    changed = module.set_owner_if_different(path, entry["owner"], changed)
    return module.set_group_if_different(path, entry["group"], changed)


def read_text(path: str) -> str | None:
    """The text at a path, or None where no regular file is."""
    if os.path.islink(path) or not os.path.isfile(path):
        return None
    with open(path, "rb") as stream:
        return stream.read().decode("utf-8", "replace")


def ensure_file(module: AnsibleModule, entry: dict[str, Any]) -> tuple[bool, str, str]:
    """Write a file where its text differs. Returns whether it changed, and its text before and after."""
    path, content = entry["path"], entry["content"]
    if os.path.isdir(path) and not os.path.islink(path):
        raise RefusedError(f"cannot write {path}: it is a directory; move it away")
    before = read_text(path)
    differs = before != content
    if differs and not module.check_mode:
        ensure_parents(module, path)
        handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode("utf-8"))
            # Else a loss of power within the next half minute leaves the name with nothing in it.
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, int(entry["mode"], 8))
        # atomic_move writes through a link; the link itself must give way to the file.
        if os.path.islink(path):
            os.unlink(path)
        module.atomic_move(temporary, path)
    return apply_access(module, entry, differs), before or "", content


def ensure_link(module: AnsibleModule, entry: dict[str, Any]) -> tuple[bool, str, str]:
    """Make a link lead to its target; a file in its place is replaced, a directory is refused."""
    path, target = entry["path"], entry["target"]
    before = os.readlink(path) if os.path.islink(path) else ""
    if before == target:
        return False, before, target
    if os.path.isdir(path) and not os.path.islink(path):
        raise RefusedError(f"cannot make the link {path}: it is a directory; move it away")
    if not module.check_mode:
        ensure_parents(module, path)
        temporary = path + ".edgewright-new"
        if os.path.lexists(temporary):
            os.unlink(temporary)
        os.symlink(target, temporary)
        os.rename(temporary, path)
    return True, before, target


def ensure_directory(module: AnsibleModule, entry: dict[str, Any]) -> tuple[bool, str, str]:
    """Make a directory."""
    path = entry["path"]
    exists = os.path.isdir(path)
    if not exists and os.path.lexists(path):
        raise RefusedError(f"cannot make the directory {path}: a file is there; move it away")
    if not exists and not module.check_mode:
        ensure_parents(module, path)
        os.mkdir(path)
    return apply_access(module, entry, not exists), "directory" if exists else "", "directory"


def ensure_moved(module: AnsibleModule, entry: dict[str, Any]) -> tuple[bool, str, str]:
    """Move what is at a path below the target; an older copy there is kept, the new one gets a number."""
    path = entry["path"]
    if not os.path.lexists(path):
        return False, "", ""
    top = entry["target"].rstrip("/")
    kept = top + path
    number = 1
    while os.path.lexists(kept):
        number += 1
        kept = f"{top}{path}.{number}"
    before = read_text(path) or ""
    if not module.check_mode:
        ensure_parents(module, kept)
        module.atomic_move(path, kept, keep_dest_attrs=False)
    return True, before, ""


HANDLERS = {"file": ensure_file, "link": ensure_link, "directory": ensure_directory, "moved": ensure_moved}


def run(module: AnsibleModule) -> dict[str, Any]:
    """Handle the entries in order.

    Returns:
        The module's result.

    Raises:
        RefusedError: an entry is wrong; those before it are done.
    """
    for entry in module.params["files"]:
        check_entry(entry)
    paths: list[str] = []
    diff: list[dict[str, str]] = []
    for entry in module.params["files"]:
        changed, before, after = HANDLERS[entry["state"]](module, entry)
        if not changed:
            continue
        paths.append(entry["path"])
        access = "{} {}".format(entry["state"], entry["mode"] or "")
        header = "{} ({})".format(entry["path"], access.strip())
        diff.append(
            {"before_header": entry["path"], "before": before, "after_header": header, "after": after}
        )
    return {"changed": bool(paths), "paths": paths, "diff": diff}


def main() -> NoReturn:
    """Entry point."""
    suboptions = {
        "path": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["file", "link", "directory", "moved"], "default": "file"},
        "content": {"type": "str"},
        "target": {"type": "path"},
        "mode": {"type": "str"},
        "owner": {"type": "str"},
        "group": {"type": "str"},
    }
    files = {"type": "list", "elements": "dict", "required": True, "options": suboptions}
    module = AnsibleModule(argument_spec={"files": files}, supports_check_mode=True)
    try:
        result = run(module)
    except RefusedError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"cannot put a file in place: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
