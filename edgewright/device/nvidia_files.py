# SPDX-License-Identifier: Apache-2.0
"""The text of the files that keep a GPU as declared: modprobe's, and systemd's units. Pure.

They are written here and not in templates of the role, because the probe compares them with what lies on
the device: one text, made once, in one place.

At each boot, in this order: the modules (`modules-load.d`), the MIG layout (it does not outlive a boot),
persistence, MPS, then the CDI specification, which describes the driver and the layout as they are now. All
come before the runtime, which takes the GPU from that specification.

Containers get the GPU by CDI, not by the toolkit's older hook: what a hook adds to a container behind its
engine's back is taken away when systemd sets the cgroup's devices anew, as at `daemon-reload`
(https://github.com/NVIDIA/nvidia-docker/issues/1730); what the engine itself asked for by CDI stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgewright.device.nvidia_gpus import mig_apply_script

__all__ = [
    "CDI_SPEC",
    "CDI_UNIT",
    "CLOCKS_UNIT",
    "MIG_APPLY",
    "MIG_UNIT",
    "MODPROBE",
    "MODULES_LOAD",
    "MPS_PIPES",
    "MPS_UNIT",
    "PERSISTENCE_UNIT",
    "discrete_files",
    "jetson_files",
    "unit_path",
]

MODPROBE = "/etc/modprobe.d/edgewright-nvidia.conf"
MODULES_LOAD = "/etc/modules-load.d/edgewright-nvidia.conf"
MIG_APPLY = "/usr/local/lib/edgewright/nvidia-mig-apply"
MIG_UNIT = "edgewright-nvidia-mig.service"
PERSISTENCE_UNIT = "edgewright-nvidia-persistence.service"
MPS_UNIT = "edgewright-nvidia-mps.service"
CDI_UNIT = "edgewright-nvidia-cdi.service"
CLOCKS_UNIT = "edgewright-jetson-clocks.service"

# The same file that the toolkit's own nvidia-cdi-refresh.service writes from 1.18 on, so that there is never
# a second specification of the same devices, which engines refuse.
CDI_SPEC = "/run/cdi/nvidia.yaml"
MPS_PIPES = "/run/edgewright/nvidia-mps"

_HEADER = "# Written by Edgewright (role nvidia); changes made here are undone by the next run.\n"
_RUNTIMES = "edgewright-runtime-a.service edgewright-runtime-b.service"


def unit_path(unit: str) -> str:
    """Where a unit of ours lies."""
    return f"/etc/systemd/system/{unit}"


def discrete_files(
    *, mig: Mapping[str, Sequence[str]], can_mig: bool, persistence: bool, mps: bool, cdi: bool
) -> dict[str, str]:
    """Files of a device with an NVIDIA card.

    Args:
        mig: GPU index or `all` to profiles; empty for no layout.
        can_mig: whether the GPU can be cut, and so a layout be taken away.
        persistence: whether our own unit keeps the driver's state, as no nvidia-persistenced does.
        mps: whether the MPS daemon runs.
        cdi: whether containers get the GPU.

    Returns:
        Path to text; programs are those below /usr/local/lib.
    """
    files = {
        MODPROBE: (
            f"{_HEADER}# nouveau takes the GPU before NVIDIA's driver can.\n"
            "blacklist nouveau\noptions nouveau modeset=0\n"
        ),
        MODULES_LOAD: f"{_HEADER}nvidia\nnvidia-uvm\n",
    }
    if can_mig:
        files[MIG_APPLY] = mig_apply_script()
    if mig:
        wanted = " ".join(f"{gpu}={','.join(profiles)}" for gpu, profiles in mig.items())
        files[unit_path(MIG_UNIT)] = _unit(
            "MIG layout of the GPUs",
            f"{MIG_APPLY} {wanted}",
            before=f"nvidia-persistenced.service {PERSISTENCE_UNIT} {MPS_UNIT} {CDI_UNIT}",
        )
    if persistence:
        files[unit_path(PERSISTENCE_UNIT)] = _unit(
            "Persistence mode of the GPUs", "/usr/bin/nvidia-smi -pm 1", before=f"{MPS_UNIT} {CDI_UNIT}"
        )
    if mps:
        files[unit_path(MPS_UNIT)] = _mps_unit()
    if cdi:
        files[unit_path(CDI_UNIT)] = _cdi_unit("")
    return files


def jetson_files(*, clocks: bool, cdi: bool) -> dict[str, str]:
    """Files of a Jetson.

    Args:
        clocks: whether jetson_clocks holds the clocks at the power mode's maximum.
        cdi: whether containers get the GPU.
    """
    files = {}
    if clocks:
        files[unit_path(CLOCKS_UNIT)] = _unit(
            "Clocks held at the maximum of the power mode",
            "/usr/bin/jetson_clocks",
            before="",
            after="nvpmodel.service",
        )
    if cdi:
        files[unit_path(CDI_UNIT)] = _cdi_unit(" --mode=csv")
    return files


def _unit(description: str, command: str, before: str, after: str = "systemd-modules-load.service") -> str:
    return f"""{_HEADER}[Unit]
Description={description} (Edgewright)
After={after}
Before={f"{before} " if before else ""}{_RUNTIMES}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={command}

[Install]
WantedBy=multi-user.target
"""


def _cdi_unit(options: str) -> str:
    # The links in /dev/char are what runc looks devices up by; NVIDIA's issue 1730 names the command.
    return f"""{_HEADER}[Unit]
Description=CDI specification of the GPUs (Edgewright)
After=systemd-modules-load.service nvidia-persistenced.service {MIG_UNIT} {MPS_UNIT}
Before={_RUNTIMES}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/nvidia-ctk cdi generate{options} --output={CDI_SPEC}
ExecStartPost=-/usr/bin/nvidia-ctk system create-dev-char-symlinks --create-all

[Install]
WantedBy=multi-user.target
"""


def _mps_unit() -> str:
    return f"""{_HEADER}[Unit]
Description=CUDA Multi-Process Service (Edgewright)
After=systemd-modules-load.service nvidia-persistenced.service {MIG_UNIT}
Before={CDI_UNIT} {_RUNTIMES}

[Service]
Environment=CUDA_MPS_PIPE_DIRECTORY={MPS_PIPES} CUDA_MPS_LOG_DIRECTORY=/var/log/edgewright-nvidia-mps
RuntimeDirectory=edgewright/nvidia-mps
LogsDirectory=edgewright-nvidia-mps
ExecStart=/usr/bin/nvidia-cuda-mps-control -f
ExecStop=/bin/sh -c 'echo quit | /usr/bin/nvidia-cuda-mps-control'
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""
