# SPDX-License-Identifier: Apache-2.0
"""The text of the files that make the runtime: systemd's unit and nginx's configuration. Pure.

They are written here and not in a template of the role, because the probe compares them with what
lies on the device: one text, made once, in one place.

The unit is what podman's own generator (Quadlet, from podman 4.4 on; Debian 12 has 4.3) makes of a
container: podman starts it detached, conmon becomes the unit's main process and says when it runs.
The role of a client is the OU of its certificate's subject, which only the site's authority gives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "FrontendText",
    "UnitText",
    "frontend_text",
    "generation",
    "podman_run",
    "snap_environment",
    "snap_frontend_text",
    "unit_text",
]

_HEADER = "Written by Edgewright (role runtime); changes made here are undone by the next run."

# Roles of certificates, and what each may ask for.
INFER_ROLES = ("application", "controller", "device", "operator")
METRICS_ROLES = ("controller", "operator")

# User that the server runs as inside the container, and by number on the device.
UID = 65532
# Group of nginx's workers in Debian: they, and nobody else, may enter the socket's directory.
FRONTEND_GROUP = "www-data"

# What nginx holds of a request in memory before it writes to disk; an image of a label is 0.2 MiB.
_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True)
class UnitText:
    """What the unit's text is made of.

    Attributes:
        release: name and version of the release, for `systemctl status`.
        slice: systemd's slice that the container runs in.
        partitioned: whether that slice's CPUs are set apart by edgewright-partition.service.
        directory: directory of the socket, below /run.
        container: name of the container.
        command: the whole `podman run` command.
        start_timeout_s: seconds until a start that does not end counts as failed.
    """

    release: str
    slice: str
    partitioned: bool
    directory: str
    container: str
    command: Sequence[str]
    start_timeout_s: int


@dataclass(frozen=True)
class FrontendText:
    """What nginx's configuration is made of.

    Attributes:
        listen: address and port.
        socket: the server's unix socket.
        identity: directory with device.crt, device.key and site-root.crt.
        max_request_bytes: largest request body that nginx passes on; the server's own limit.
    """

    listen: str
    socket: str
    identity: str
    max_request_bytes: int


def generation(command: Sequence[str]) -> str:
    """Short name of a `podman run` command: sha256 of its words but its own label, 16 digits."""
    words = [word for word in command if not word.startswith("edgewright.generation=")]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def podman_run(
    container: str, directory: str, image: str, models: Mapping[str, str], environment: Mapping[str, str]
) -> list[str]:
    """The command that starts the server: no network, nothing writable but its socket's directory.

    Args:
        container: name to give it.
        directory: host directory of the socket, mounted at /run/edgewright.
        image: reference by digest of the runtime image.
        models: model name to its image's reference by digest, each mounted read-only below /models.
        environment: the server's settings.
    """
    command = ["/usr/bin/podman", "run", "--name", container, "--replace", "--rm", "--detach"]
    command += ["--cgroups=split", "--sdnotify=conmon", "--log-driver", "passthrough", "--pull", "never"]
    command += ["--network", "none", "--read-only", "--user", str(UID), "--cap-drop", "all"]
    command += ["--security-opt", "no-new-privileges"]
    command += ["--volume", f"{directory}:/run/edgewright"]
    for name, reference in sorted(models.items()):
        command += ["--mount", f"type=image,source={reference},destination=/models/{name}"]
    for name, value in sorted(environment.items()):
        command += ["--env", f"{name}={value}"]
    command.append(image)
    label = ["--label", f"edgewright.generation={generation([*command[:-1], '--label', image])}"]
    return [*command[:-1], *label, image]


def unit_text(unit: UnitText) -> str:
    """Text of the systemd unit."""
    partition = (
        "# Without its CPUs set apart the model does not start: a slow answer at the wrong time is a fault.\n"
        "Requires=edgewright-partition.service\n"
        "After=edgewright-partition.service\n"
        if unit.partitioned
        else ""
    )
    run = " \\\n    ".join(_arguments(unit.command))
    return (
        f"# {_HEADER}\n"
        "[Unit]\n"
        f"Description=Edgewright runtime, slot A: {unit.release}\n"
        f"{partition}"
        "StartLimitIntervalSec=600\n"
        "StartLimitBurst=5\n"
        "\n"
        "[Service]\n"
        "Type=notify\n"
        "NotifyAccess=all\n"
        f"Slice={unit.slice}\n"
        "Delegate=yes\n"
        "Environment=PODMAN_SYSTEMD_UNIT=%n\n"
        # Not RuntimeDirectory=: systemd would give it back to root before each command of the unit.
        f"ExecStartPre=/usr/bin/install -d -m 0710 -o {UID} -g {FRONTEND_GROUP} {unit.directory}\n"
        f"ExecStart={run}\n"
        f"ExecStop=/usr/bin/podman stop --ignore --time 20 {unit.container}\n"
        f"ExecStopPost=-/usr/bin/podman rm --force --ignore {unit.container}\n"
        f"ExecStopPost=-/usr/bin/rm -rf {unit.directory}\n"
        "Restart=on-failure\n"
        "RestartSec=2\n"
        f"TimeoutStartSec={unit.start_timeout_s}\n"
        "TimeoutStopSec=40\n"
        "KillMode=mixed\n"
        "\n"
        "[Install]\n"
        "WantedBy=multi-user.target\n"
    )


def _arguments(command: Sequence[str]) -> list[str]:
    """One option with its value on a line, for people who read the unit."""
    lines: list[str] = []
    for word in command:
        takes_value = lines and lines[-1].startswith("--") and " " not in lines[-1] and "=" not in lines[-1]
        alone = lines and lines[-1] in {"--replace", "--rm", "--detach", "--read-only"}
        if takes_value and not alone and not word.startswith("--"):
            lines[-1] += f" {word}"
        elif word == "run":
            lines[-1] += " run"
        else:
            lines.append(word)
    return lines


def frontend_text(frontend: FrontendText) -> tuple[str, str]:
    """Text of nginx's configuration, and the name of this text that nginx gives out with each answer."""
    body = _frontend_body(frontend)
    name = hashlib.sha256(body.encode()).hexdigest()[:16]
    return body.replace("@CONFIG@", name), name


# The snap's nginx is given a whole configuration. Its paths are relative to the prefix that the snap starts
# it with, which it may write. Under snapd's confinement it may neither give files away nor become another
# user
# (tried: chown of its temporary directories is refused), so it stays the root of the snap that snapd started.
_SNAP_FRONTEND = """\
# {header}
user root;
worker_processes 1;
pid frontend.pid;
error_log stderr;
events {{
    worker_connections 1024;
}}
http {{
client_body_temp_path client_body;
proxy_temp_path proxy;
fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi;
scgi_temp_path scgi;
{body}}}
"""


def snap_frontend_text(frontend: FrontendText) -> tuple[str, str]:
    """Text of the snap's nginx.conf, and the name of this text that it gives out with each answer."""
    whole = _SNAP_FRONTEND.format(header=_HEADER, body=_frontend_body(frontend))
    name = hashlib.sha256(whole.encode()).hexdigest()[:16]
    return whole.replace("@CONFIG@", name), name


def snap_environment(settings: Mapping[str, str]) -> str:
    """Text of the settings that the snap's start script reads."""
    return f"# {_HEADER}\n" + "".join(f"{name}={value}\n" for name, value in sorted(settings.items()))


def _frontend_body(frontend: FrontendText) -> str:
    roles = sorted({*INFER_ROLES, *METRICS_ROLES})
    # nginx gives the subject as RFC 2253 has it: names apart by commas, a comma inside a name as "\,".
    # The lookbehind (\x5c is the backslash, which nginx would take for itself) keeps a name such as
    # "x,OU=operator" from being read as a role.
    by_ou = "".join(f'    "~(?:^|(?<!\\x5c),)OU={role}(?:,|$)" {role};\n' for role in roles)
    limit = frontend.max_request_bytes
    buffer = min(limit, _BUFFER_BYTES)
    return (
        f"# {_HEADER}\n"
        "# The role of a client is the OU of its certificate's subject.\n"
        "map $ssl_client_s_dn $edgewright_role {\n"
        '    default "";\n'
        f"{by_ou}"
        "}\n"
        f"{_allowed('edgewright_may_infer', INFER_ROLES)}"
        f"{_allowed('edgewright_may_measure', METRICS_ROLES)}"
        "\n"
        "upstream edgewright_runtime {\n"
        f"    server unix:{frontend.socket};\n"
        "    keepalive 8;\n"
        "}\n"
        "\n"
        "server {\n"
        f"    listen {frontend.listen} ssl;\n"
        f"    ssl_certificate {frontend.identity}/device.crt;\n"
        f"    ssl_certificate_key {frontend.identity}/device.key;\n"
        "    ssl_protocols TLSv1.2 TLSv1.3;\n"
        "    ssl_session_tickets off;\n"
        "    # Only the site's authority is trusted: leaf, issuing, root.\n"
        f"    ssl_client_certificate {frontend.identity}/site-root.crt;\n"
        "    ssl_verify_client on;\n"
        "    ssl_verify_depth 2;\n"
        "\n"
        "    server_tokens off;\n"
        "    access_log off;\n"
        f"    client_max_body_size {limit};\n"
        f"    client_body_buffer_size {buffer};\n"
        "    default_type application/json;\n"
        "    # Which configuration answers; the probe compares it with the file.\n"
        "    add_header Edgewright-Config @CONFIG@ always;\n"
        "    proxy_http_version 1.1;\n"
        '    proxy_set_header Connection "";\n'
        "    proxy_set_header Host $host;\n"
        "    proxy_set_header Edgewright-Role $edgewright_role;\n"
        "    proxy_buffering off;\n"
        "    proxy_read_timeout 300s;\n"
        "    error_page 413 @too_large;\n"
        "    error_page 502 504 @no_server;\n"
        "\n"
        "    location = /v2 {\n"
        f"{_guarded('edgewright_may_infer', 'use the model')}"
        "    }\n"
        "    location /v2/ {\n"
        f"{_guarded('edgewright_may_infer', 'use the model')}"
        "    }\n"
        "    location = /metrics {\n"
        f"{_guarded('edgewright_may_measure', 'read the metrics')}"
        "    }\n"
        "    location / {\n"
        '        return 404 \'{"error": "there is nothing here: the model is below /v2"}\';\n'
        "    }\n"
        "    location @too_large {\n"
        f'        return 413 \'{{"error": "a request may have at most {limit} bytes"}}\';\n'
        "    }\n"
        "    location @no_server {\n"
        '        return 503 \'{"error": "the model server does not answer; it may be starting"}\';\n'
        "    }\n"
        "}\n"
    )


def _allowed(variable: str, roles: Sequence[str]) -> str:
    lines = "".join(f"    {role} 1;\n" for role in roles)
    return f"map $edgewright_role ${variable} {{\n    default 0;\n{lines}}}\n"


def _guarded(variable: str, what: str) -> str:
    return (
        f"        if (${variable} = 0) {{\n"
        f'            return 403 \'{{"error": "the role of this certificate may not {what}"}}\';\n'
        "        }\n"
        "        proxy_pass http://edgewright_runtime;\n"
    )
