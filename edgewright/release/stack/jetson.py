# SPDX-License-Identifier: Apache-2.0
"""Jetson: JetPack decides. L4T, kernel, CUDA, cuDNN and TensorRT come with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from edgewright.release.stack.answers import full, judged, row_of, unknown
from edgewright.release.stack.model import Answer, Candidate, Judge
from edgewright.release.stack.relations import Relations
from edgewright.release.stack.version import Version

__all__ = ["JetsonRelations"]


class JetsonRelations(Relations):
    """The judges for Jetson modules."""

    def judges(self) -> Mapping[tuple[str, str], Judge]:
        """All of them, by the two items' names in the universe's order."""
        return {
            ("gpu", "onnxruntime-gpu"): self.gpu_onnxruntime,
            ("jetson", "jetpack"): self.module_jetpack,
            ("jetpack", "l4t"): self.jetpack_l4t,
            ("jetpack", "suite"): self.jetpack_suite,
            ("jetpack", "kernel-flavour"): self.jetpack_flavour,
            ("jetpack", "kernel"): self.jetpack_part,
            ("jetpack", "cuda"): self.jetpack_part,
            ("jetpack", "cudnn"): self.jetpack_part,
            ("jetpack", "tensorrt"): self.jetpack_part,
            ("l4t", "firmware"): self.l4t_firmware,
            ("l4t", "kernel-flavour"): self.l4t_flavour,
            ("suite", "container-toolkit"): self.suite_packages,
            ("suite", "python"): self.suite_python,
            ("onnxruntime-gpu", "python"): self.library_python,
        }

    def gpu_onnxruntime(self, gpu: Candidate, runtime: Candidate) -> Answer:
        """Whether PyPI's wheels have code for a Jetson was read nowhere."""
        return unknown(
            f"no verified source says that onnxruntime-gpu {runtime.version} of PyPI has code for"
            f" {gpu.label}",
            row_of(runtime),
        )

    def module_jetpack(self, module: Candidate, jetpack: Candidate) -> Answer:
        """JetPack supports the module's family."""
        row, jetson = row_of(jetpack), row_of(module)
        family = jetson["family"]
        return judged(
            None if family is None else row["families"],
            lambda families: family in families,
            row,
            jetson,
            absent=f"no verified source names the modules of JetPack {jetpack.version}",
            yes=f"JetPack {jetpack.version} is for {family}",
            no=lambda families: f"JetPack {jetpack.version} is for {', '.join(families)}, not for {family}",
        )

    def jetpack_l4t(self, jetpack: Candidate, l4t: Candidate) -> Answer:
        """The L4T releases of a JetPack."""
        row = row_of(jetpack)
        return judged(
            row["l4t"] or None,
            lambda known: any(Version.parse(each) == Version.parse(l4t.version) for each in known),
            row,
            absent=f"no verified source names the L4T of JetPack {jetpack.version}",
            yes=lambda known: f"JetPack {jetpack.version} is L4T {' or '.join(known)}",
            no=f"JetPack {jetpack.version} is not L4T {l4t.version}",
        )

    def jetpack_suite(self, jetpack: Candidate, suite: Candidate) -> Answer:
        """The Ubuntu that a JetPack is."""
        row = row_of(jetpack)
        why = f"JetPack {jetpack.version} is Ubuntu {row['suite']}"
        return judged(
            row["suite"],
            lambda known: known == suite.version,
            row,
            absent=f"no verified source names the Ubuntu of JetPack {jetpack.version}",
            yes=why,
            no=why,
        )

    def jetpack_flavour(self, jetpack: Candidate, flavour: Candidate) -> Answer | None:
        """JetPack's own kernel; that for PREEMPT_RT depends on the L4T release."""
        if flavour.version == "rt":
            return None
        return full(f"JetPack {jetpack.version} brings a kernel", row_of(jetpack))

    def jetpack_part(self, jetpack: Candidate, part: Candidate) -> Answer:
        """The version of a part that a JetPack brings."""
        row = row_of(jetpack)
        why = f"JetPack {jetpack.version} brings {part.item} {row[part.item]}"
        return judged(
            row[part.item],
            lambda brings: Version.parse(brings) == Version.parse(part.version),
            row,
            absent=f"no verified source names the {part.item} of JetPack {jetpack.version}",
            yes=why,
            no=why,
        )

    def l4t_flavour(self, l4t: Candidate, flavour: Candidate) -> Answer | None:
        """NVIDIA's kernel packages for PREEMPT_RT on a Jetson (a developer preview)."""
        if flavour.version != "rt":
            return None
        for row in self.facts.all("jetson-rt"):
            if row["package"] is not None and Version.parse(l4t.version).below(Version.parse(row["l4t"])):
                return full(
                    f"NVIDIA publishes {row['package']} for L4T {row['l4t']}, and calls it a developer"
                    " preview",
                    row,
                )
        return unknown(f"no verified source names a PREEMPT_RT kernel for L4T {l4t.version}")

    def l4t_firmware(self, l4t: Candidate, firmware: Candidate) -> Answer:
        """Whether an L4T boots on the board's firmware."""
        major = Version.parse(l4t.version).major
        row = self.facts.one("jetson-firmware", firmware=int(firmware.version), l4t_major=major)
        why = f"L4T {major} on board firmware R{firmware.version}"
        return judged(
            row["fits"] if row else None,
            bool,
            row,
            absent=f"no verified source says that {why} boots",
            yes=f"{why} boots",
            no=f"{why} does not boot; the firmware must be updated first",
        )
