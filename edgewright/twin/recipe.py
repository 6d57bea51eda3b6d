# SPDX-License-Identifier: Apache-2.0
"""What a twin's image is made of: packages, sources, settings. Its digest names the cached image.

The image is a *bare device*: what an engineer finds in a box that has been flashed with plain Debian
and an ssh key. No certificates, no openssl, no python3-apt, no real-time kernel, no podman: bringing
those is what provisioning is for. Everything that decides the image's content is a field of `Recipe`,
so that a change of any of them makes a new image and an unchanged recipe never builds twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from edgewright.errors import InputError

__all__ = ["SOURCES", "SUITES", "Recipe", "container_recipe", "in_suite", "vm_recipe"]

SUITES = ("bookworm", "trixie")
"""Debian's releases that a VM twin can start with; the first is what it has where nothing is said."""

SOURCES = (
    "deb archive:debian bookworm main",
    "deb archive:debian bookworm-updates main",
    "deb archive:debian-security bookworm-security main",
)
"""Where the image's packages come from (see `edgewright.archives`); its own sources.list has the addresses
that this host's apt uses. A twin cannot reach them."""

_COMMON_PACKAGES = ("dbus", "iproute2", "openssh-server", "procps", "python3", "sudo", "systemd-sysv")
_VM_PACKAGES = ("e2fsprogs", "grub-common", "grub2-common", "initramfs-tools", "kmod", "udev", "zstd")
_ARCH_PACKAGES = {
    "amd64": ("grub-efi-amd64-bin", "linux-image-cloud-amd64"),
    "arm64": ("grub-efi-arm64-bin", "linux-image-rt-arm64"),
}
# Each architecture's EFI: grub's target, the file that firmware looks for, the serial console.
_ARCH_BOOT = {
    "amd64": ("x86_64-efi", "BOOTX64.EFI", "ttyS0,115200"),
    "arm64": ("arm64-efi", "BOOTAA64.EFI", "ttyAMA0,115200"),
}

GRUB_MODULES = (
    *("configfile", "echo", "ext2", "fat", "gzio", "halt", "linux", "loadenv", "ls", "normal", "part_gpt"),
    *("reboot", "search", "search_fs_uuid", "search_label", "sleep", "test", "true"),
)
"""What is linked into the boot loader; it is all that a grub.cfg of update-grub needs on this disk."""

GRUB_EMBEDDED = "search --no-floppy --label root --set=root\nset prefix=($root)/boot/grub\n" + (
    "configfile $prefix/grub.cfg\n"
)

# ssh: keys only, no wait for a DNS that is not there, and no post-quantum exchange, which costs an
# emulated CPU a second per connection (a connection that never leaves this host).
_SSHD = """PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
HostKey /etc/ssh/ssh_host_ed25519_key
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
"""

_COMMON_HOOK = """set -eu
tree=$1
rm -f "$tree"/etc/ssh/ssh_host_* "$tree/etc/hostname" "$tree/etc/resolv.conf" "$tree/etc/hosts"
install -d -m 0700 "$tree/root/.ssh"
cat > "$tree/etc/ssh/sshd_config.d/10-twin.conf" <<'END'
{sshd}END
rm -f "$tree/etc/machine-id" "$tree/var/lib/dbus/machine-id"
"""

# MODULES=list: an initramfs with the drivers of this machine's own disk only. It is the smallest that
# boots any of Debian's kernels here, and remaking it after a kernel's installation takes an emulated CPU
# seconds, not minutes; zstd's level 1 for the same reason.
_VM_HOOK = """cat > "$tree/etc/fstab" <<'END'
LABEL=root / ext4 errors=remount-ro 0 1
END
cat > "$tree/etc/systemd/network/80-dhcp.network" <<'END'
[Match]
Name=en* eth*

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
END
cat > "$tree/etc/default/grub" <<'END'
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console={console}"
GRUB_DISABLE_OS_PROBER=true
GRUB_TERMINAL=console
END
chroot "$tree" systemctl -q enable systemd-networkd.service
chroot "$tree" systemctl -q disable systemd-networkd-wait-online.service || true
chroot "$tree" systemctl -q mask systemd-networkd-wait-online.service
chroot "$tree" systemctl -q disable e2scrub_reap.service e2scrub_all.timer
release=$(ls "$tree/boot" | sed -n 's/^vmlinuz-//p' | sort -V | tail -n 1)
test -n "$release"
mkdir -p "$tree/boot/grub/{grub_target}" "$tree/boot/grub/fonts"
cp "$tree"/usr/lib/grub/{grub_target}/*.mod "$tree"/usr/lib/grub/{grub_target}/*.lst \
    "$tree/boot/grub/{grub_target}/"
chroot "$tree" grub-editenv /boot/grub/grubenv create
cat > "$tree/boot/grub/grub.cfg" <<END
# Written with the image; update-grub replaces it at the first change of kernels or settings.
set timeout=0
menuentry 'Debian GNU/Linux' {{
    search --no-floppy --label root --set=root
    linux /boot/vmlinuz-$release root=LABEL=root ro console={console}
    initrd /boot/initrd.img-$release
}}
END
"""

_VM_SETUP = """set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d"
printf 'MODULES=list\\nCOMPRESS=zstd\\nCOMPRESSLEVEL=1\\n' > "$1/etc/initramfs-tools/conf.d/twin"
printf '%s\\n' virtio_pci virtio_mmio virtio_blk ext4 crc32c_generic > "$1/etc/initramfs-tools/modules"
"""

_CONTAINER_HOOK = """for unit in systemd-udevd.service systemd-logind.service getty.target \
    console-getty.service e2scrub_reap.service systemd-networkd.service; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done
"""

_EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what an image holds.

    Args:
        kind: `vm` or `container`.
        arch: Debian's name of the architecture.
        suite: Debian's release.
        sources: one-line apt sources, as `SOURCES`.
        packages: what is installed on top of Debian's minbase.
        excluded: path patterns that dpkg leaves out.
        setup: shell script run on the empty tree (`$1`).
        hook: shell script run on the filled tree (`$1`).
        root_mib: size of a VM's root file system in MiB (the file is sparse).
        esp_mib: size of its EFI system partition in MiB.
        grub_target: grub's name of the boot loader's platform.
        efi_name: the file's name that the firmware starts.
        grub_modules: linked into the boot loader.
        grub_embedded: its built-in configuration.
        layout: version of the code that turns the tree into an image; raised by whoever changes it.
    """

    kind: str
    arch: str
    suite: str
    sources: tuple[str, ...]
    packages: tuple[str, ...]
    excluded: tuple[str, ...]
    setup: str
    hook: str
    root_mib: int = 0
    esp_mib: int = 0
    grub_target: str = ""
    efi_name: str = ""
    grub_modules: tuple[str, ...] = ()
    grub_embedded: str = ""
    layout: int = 2

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe, in hexadecimal: equal recipes make equal images."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def label(self) -> str:
        """The image's name in the cache, such as `vm-amd64-1f2e3d4c5b6a`."""
        return f"{self.kind}-{self.arch}-{self.digest[:12]}"

    def document(self) -> str:
        """The recipe as readable JSON, kept beside the image that it made."""
        return json.dumps({"schema": "edgewright.twin-recipe/v1", **asdict(self)}, indent=2) + "\n"


def vm_recipe(arch: str = "amd64") -> Recipe:
    """The image of a VM twin: a bare Debian 12 with its own boot loader.

    Args:
        arch: `amd64` (Debian's cloud kernel) or `arm64` (Debian's real-time kernel).

    Raises:
        InputError: there is no recipe for the architecture.
    """
    if arch not in _ARCH_BOOT:
        raise InputError(
            f"choosing a VM image: no recipe for the architecture {arch!r}; known are {', '.join(_ARCH_BOOT)}"
        )
    target, efi_name, console = _ARCH_BOOT[arch]
    return Recipe(
        kind="vm",
        arch=arch,
        suite="bookworm",
        sources=SOURCES,
        packages=tuple(sorted((*_COMMON_PACKAGES, *_VM_PACKAGES, *_ARCH_PACKAGES[arch]))),
        excluded=_EXCLUDED,
        setup=_VM_SETUP,
        hook=_COMMON_HOOK.format(sshd=_SSHD) + _VM_HOOK.format(console=console, grub_target=target),
        root_mib=6144,
        esp_mib=64,
        grub_target=target,
        efi_name=efi_name,
        grub_modules=GRUB_MODULES,
        grub_embedded=GRUB_EMBEDDED,
    )


def in_suite(recipe: Recipe, suite: str) -> Recipe:
    """A VM's recipe with another release of Debian.

    Args:
        recipe: as `vm_recipe` gives it.
        suite: one of `SUITES`.

    Raises:
        InputError: there is no recipe for the suite.
    """
    if suite not in SUITES:
        raise InputError(
            f"choosing a VM image: no recipe for the suite {suite!r}; known are {', '.join(SUITES)}"
        )
    if suite == recipe.suite:
        return recipe
    return replace(
        recipe, suite=suite, sources=tuple(each.replace(recipe.suite, suite) for each in recipe.sources)
    )


def container_recipe() -> Recipe:
    """The image of a container twin: a bare Debian 12 with systemd and sshd, without a kernel."""
    return Recipe(
        kind="container",
        arch="amd64",
        suite="bookworm",
        sources=SOURCES,
        packages=_COMMON_PACKAGES,
        excluded=_EXCLUDED,
        setup="",
        hook=_COMMON_HOOK.format(sshd=_SSHD) + _CONTAINER_HOOK,
    )
