# SPDX-License-Identifier: Apache-2.0
"""Whether two versions go together, judged by the facts alone. Pure.

Each judge takes two candidates and answers FULL, MINOR or REFUSED (WAIVED: see `waiver`), with the reason as
a clause and the sources; None where the two have nothing to do with each other. Where no verified fact says
yes the answer is REFUSED and `known` is False: not being known is no yes.

This file has the servers and workstations with NVIDIA's discrete driver; `libraries` has what runs on the
driver, `jetson` the Jetson modules.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from edgewright.release.stack.answers import full, judged, minor, refused, row_of, sources_of, unknown
from edgewright.release.stack.facts import Facts, Row
from edgewright.release.stack.libraries import Libraries
from edgewright.release.stack.model import Answer, Candidate, Judge, Level
from edgewright.release.stack.version import Version
from edgewright.release.stack.waiver import Waiver

__all__ = ["Relations"]


@dataclass(frozen=True)
class Relations(Libraries):
    """The judges for discrete GPUs.

    Attributes:
        facts: What is known.
        waiver: The release's waiver for PREEMPT_RT, if any.
        on: The day on which the waiver must still count.
    """

    facts: Facts
    waiver: Waiver | None
    on: datetime.date

    def judges(self) -> Mapping[tuple[str, str], Judge]:
        """All of them, by the two items' names in the universe's order."""
        return {
            ("arch", "kernel"): self.arch_kernel,
            ("arch", "driver"): self.arch_rows,
            ("arch", "tensorrt"): self.arch_rows,
            ("arch", "onnxruntime-gpu"): self.arch_rows,
            ("gpu", "driver"): self.gpu_driver,
            ("gpu", "module-flavour"): self.gpu_flavour,
            ("gpu", "cuda"): self.gpu_cuda,
            ("gpu", "cudnn"): self.gpu_library,
            ("gpu", "tensorrt"): self.gpu_library,
            ("suite", "kernel"): self.suite_kernel,
            ("suite", "driver"): self.suite_packages,
            ("suite", "module"): self.suite_packages,
            ("suite", "container-toolkit"): self.suite_packages,
            ("suite", "python"): self.suite_python,
            ("kernel-flavour", "kernel"): self.flavour_kernel,
            ("kernel-flavour", "driver"): self.realtime_driver,
            ("kernel-flavour", "module"): self.realtime_module,
            ("kernel", "module"): self.kernel_module,
            ("driver", "module-flavour"): self.driver_flavour,
            ("driver", "module"): self.driver_module,
            ("driver", "cuda"): self.driver_cuda,
            ("driver", "container-toolkit"): self.driver_toolkit,
            ("module-flavour", "module"): self.flavour_module,
            ("cuda", "tensorrt"): self.cuda_tensorrt,
            ("cuda", "onnxruntime-gpu"): self.cuda_onnxruntime,
            ("cuda", "cudnn"): self.cuda_cudnn,
            ("tensorrt", "onnxruntime-gpu"): self.tensorrt_onnxruntime,
            ("tensorrt", "cudnn"): self.tensorrt_cudnn,
            ("tensorrt", "python"): self.library_python,
            ("onnxruntime-gpu", "cudnn"): self.onnxruntime_cudnn,
            ("onnxruntime-gpu", "python"): self.library_python,
        }

    # -- the machine -------------------------------------------------------------------------------

    def arch_kernel(self, arch: Candidate, kernel: Candidate) -> Answer:
        """The archive has the kernel for the architecture."""
        row = row_of(kernel)
        if arch.version in (row["arches"] or ()):
            return full(f"{kernel.label} is built for {arch.version}", row)
        return refused(f"{kernel.label} is not built for {arch.version}", row)

    def arch_rows(self, arch: Candidate, library: Candidate) -> Answer:
        """Packages or wheels for the architecture are known."""
        row, name = row_of(library), f"{library.item} {library.version}"
        return judged(
            row["arches"],
            lambda arches: arch.version in arches,
            row,
            absent=f"no verified source names the architectures of {name}",
            yes=f"{name} is published for {arch.version}",
            no=f"{name} is not published for {arch.version}",
        )

    def gpu_driver(self, gpu: Candidate, driver: Candidate) -> Answer:
        """The driver drives the GPU: neither before its architecture came nor after it was dropped."""
        card, row = self._architecture(gpu)
        if row is None or row["first_cuda"] is None:
            return unknown(f"no verified source tells which drivers drive the {gpu.label}", card, row)
        version = Version.parse(driver.version)
        last = row["last_driver_branch"]
        if last is not None and version.major > last:
            return refused(
                f"the {gpu.label} is {row['name']}, and R{last} is the last driver branch that drives"
                f" {row['name']}",
                card,
                row,
            )
        first = self._first_driver(Version.parse(row["first_cuda"]))
        if first is None:
            return unknown(f"no verified source tells the first driver of {row['name']}", card, row)
        if version < Version.parse(first["toolkit_driver"]):
            return refused(f"{row['name']} needs driver {first['toolkit_driver']} or newer", card, row, first)
        return full(f"driver branch R{version.major} drives {row['name']}", card, row, first)

    def gpu_flavour(self, gpu: Candidate, flavour: Candidate) -> Answer:
        """The flavour of kernel modules drives the GPU."""
        card, row = self._architecture(gpu)
        name = row["name"] if row else gpu.label
        return judged(
            row[f"{flavour.version}_modules"] if row else None,
            bool,
            card,
            row,
            absent=f"no verified source tells which kernel modules drive the {gpu.label}",
            yes=f"the {flavour.version} modules drive {name}",
            no=f"the {flavour.version} modules don't drive {name}",
        )

    def gpu_cuda(self, gpu: Candidate, cuda: Candidate) -> Answer:
        """The toolkit has code for the GPU's compute capability."""
        card, row = self._architecture(gpu)
        if row is None or row["first_cuda"] is None:
            return unknown(f"no verified source tells which CUDA knows the {gpu.label}", card, row)
        version, last = Version.parse(cuda.version), row["last_cuda_major"]
        capability = row["compute_capability"]
        if last is not None and version.major > last:
            return refused(
                f"CUDA {last} is the last that has code for compute capability {capability} ({row['name']})",
                card,
                row,
            )
        if version < Version.parse(row["first_cuda"]):
            return refused(f"compute capability {capability} came with CUDA {row['first_cuda']}", card, row)
        return full(f"CUDA {version.major} has code for compute capability {capability}", card, row)

    def gpu_library(self, gpu: Candidate, library: Candidate) -> Answer:
        """cuDNN or TensorRT has code for the GPU's compute capability."""
        card, architecture = self._architecture(gpu)
        row = row_of(library)
        name = f"{library.item} {library.version}"
        if architecture is None:
            return unknown(f"no verified source names the compute capability of the {gpu.label}", card)
        text = architecture["compute_capability"]
        capability = Version.parse(text)
        listed, least = row["compute_capabilities"], row["min_compute_capability"]
        most = row["max_compute_capability"]
        if listed is not None and text in listed:
            return full(f"{name} lists compute capability {text}", card, row)
        if least is None:
            return unknown(f"no verified source names the GPUs that {name} has code for", row)
        if capability < Version.parse(least):
            return refused(
                f"{name} has code from compute capability {least} on, and the {gpu.label} has {text}",
                card,
                row,
            )
        if listed is not None or (most is not None and capability > Version.parse(most)):
            return unknown(f"no verified source says that {name} has code for compute capability {text}", row)
        return full(f"{name} has code for compute capability {text}", card, row)

    # -- the system --------------------------------------------------------------------------------

    def suite_kernel(self, suite: Candidate, kernel: Candidate) -> Answer:
        """The kernel is in the suite's archive."""
        row = row_of(kernel)
        if row["suite"] == suite.version:
            return full(f"{kernel.label} is in {row['archive']}", row)
        return refused(f"{kernel.label} is of {row['suite']}, not of {suite.version}", row)

    def suite_packages(self, suite: Candidate, package: Candidate) -> Answer:
        """Packages of this version are published for the suite."""
        row, name = row_of(package), f"{package.item} {package.version}"
        return judged(
            row["suites"],
            lambda suites: suite.version in suites,
            row,
            absent=f"no verified source names the suites that {name} is published for",
            yes=f"{name} is published for {suite.version}",
            no=lambda suites: f"{package} is published for {', '.join(suites)}, not for {suite.version}",
        )

    def suite_python(self, suite: Candidate, python: Candidate) -> Answer:
        """The suite's packages are for this Python."""
        row = self.facts.one("pythons", suite=suite.version)
        return judged(
            row["python"] if row else None,
            lambda known: known == python.version,
            row,
            absent=f"no verified source names the Python of {suite.version}",
            yes=f"{suite.version} has Python {python.version}",
            no=lambda known: f"{suite.version} has Python {known}",
        )

    def flavour_kernel(self, flavour: Candidate, kernel: Candidate) -> Answer:
        """The kernel's package is of the flavour."""
        row = row_of(kernel)
        if row["flavour"] == flavour.version:
            return full(f"{kernel.label} is a kernel of flavour {flavour.version}", row)
        return refused(f"{kernel.label} is a kernel of flavour {row['flavour']}", row)

    def realtime_driver(self, flavour: Candidate, driver: Candidate) -> Answer | None:
        """NVIDIA's driver on PREEMPT_RT: refused, unless a waiver counts."""
        if flavour.version != "rt":
            return None
        row = self.facts.one("preempt-rt", subject="support")
        why = (
            row["fact"]
            if row and row["fact"]
            else "no verified source says that the driver runs on PREEMPT_RT"
        )
        if self.waiver is None:
            return refused(f"{why}, and the release carries no waiver", row)
        if not self.waiver.counts(self.on):
            until = self.waiver.until.isoformat()
            return refused(f"{why}, and the waiver of {self.waiver.who} ended on {until}", row)
        lock = self._lock(driver)
        more = f"; {lock['fact']}" if lock else ""
        return Answer(Level.WAIVED, f"{why}{more}; set aside by the {self.waiver}", sources_of((row, lock)))

    def realtime_module(self, flavour: Candidate, module: Candidate) -> Answer | None:
        """On PREEMPT_RT the open modules should be new enough for their locks."""
        if flavour.version != "rt" or self.waiver is None or not self.waiver.counts(self.on):
            return None
        lock = self._lock(module)
        if lock is None or row_of(module)["flavour"] != "open":
            return None
        return minor(f"{lock['fact']}, and these are {module.version}", lock)

    def kernel_module(self, kernel: Candidate, module: Candidate) -> Answer:
        """The modules can be built for the kernel, as far as a source says."""
        row, line = row_of(module), Version.parse(kernel.version)
        tested, lines = row["tested_kernel"], row["suite_kernels"]
        name = f"the {row['flavour']} module {module.version}"
        if tested is not None:
            if Version.parse(line.minor) <= Version.parse(tested):
                return full(f"Debian built {name} for kernels up to {tested}", row)
            return refused(f"Debian built {name} for kernels up to {tested} only", row)
        if lines is None:
            return unknown(f"no verified source names the kernels of {name}", row)
        if line.minor in lines and not str(row_of(kernel)["archive"]).endswith("-backports"):
            return full(f"NVIDIA publishes {name} for suites with kernel {line.minor}", row)
        return unknown(f"no verified source says that {name} builds for kernel {line.minor}", row)

    # -- the driver --------------------------------------------------------------------------------

    def driver_flavour(self, driver: Candidate, flavour: Candidate) -> Answer | None:
        """The driver's branch still has the flavour."""
        version = Version.parse(driver.version)
        ended = [
            row
            for row in self.facts.all("branches")
            if row["proprietary_modules"] is False and row["branch"] <= version.major
        ]
        if flavour.version == "proprietary" and ended:
            return refused(f"from R{ended[0]['branch']} on there are no proprietary modules", ended[0])
        return None

    def driver_module(self, driver: Candidate, module: Candidate) -> Answer:
        """Modules and user space must be of one version."""
        mine, row = row_of(driver), row_of(module)
        if driver.version == module.version and mine["origin"] == row["origin"]:
            return full(f"modules and user space are both {driver.version}", mine, row)
        if mine["origin"] != row["origin"]:
            places = {"debian": "Debian", "nvidia": "NVIDIA"}
            return refused(
                f"modules and user space must come from one place, and driver {driver.version} comes from"
                f" {places[mine['origin']]}, module {module.version} from {places[row['origin']]}",
                mine,
                row,
            )
        name = row["package"] or "NVIDIA's module"
        return refused(
            f"modules and user space must be of one version, and {name} is {module.version} where the driver"
            f" is {driver.version}",
            mine,
            row,
        )

    def driver_cuda(self, driver: Candidate, cuda: Candidate) -> Answer:
        """The driver runs the toolkit's programs: all features, or the minor-version compatible ones."""
        row, version = row_of(cuda), Version.parse(driver.version)
        cuda_version = Version.parse(cuda.version)
        toolkit, branch = row["toolkit_driver"], row["branch"]
        floor = self.facts.one("cuda_majors", major=cuda_version.major)
        least = floor["driver_min"] if floor else None
        if least is not None and version < Version.parse(least):
            return refused(f"CUDA {cuda_version.major} needs driver {least} or newer to run at all", floor)
        if toolkit is None and branch is None:
            return unknown(f"no verified source names the driver that CUDA {cuda.version} needs", row)
        if toolkit is not None and version >= Version.parse(toolkit):
            return full(f"CUDA {cuda.version} came with driver {toolkit}", row)
        if toolkit is None and version.major >= branch:
            return full(f"CUDA {cuda.version} belongs to driver branch R{branch}", row)
        needs = toolkit or f"R{branch}"
        if least is None:
            return unknown(
                f"no verified source names the oldest driver of CUDA {cuda_version.major}", row, floor
            )
        return minor(
            f"CUDA {cuda.version} came with driver {needs}; on {driver.version} it runs by minor-version"
            f" compatibility (CUDA {cuda_version.major} from {least} on), without what is newer"
            " than the driver",
            row,
            floor,
        )

    def driver_toolkit(self, driver: Candidate, toolkit: Candidate) -> Answer:
        """The container toolkit's oldest driver."""
        row = row_of(toolkit)
        why = f"container-toolkit {toolkit.version} needs driver {row['driver_min']} or newer"
        return judged(
            row["driver_min"],
            lambda least: Version.parse(driver.version) >= Version.parse(least),
            row,
            absent=f"no verified source names the driver of container-toolkit {toolkit.version}",
            yes=why,
            no=why,
        )

    def flavour_module(self, flavour: Candidate, module: Candidate) -> Answer:
        """The module's package is of the flavour."""
        row = row_of(module)
        if row["flavour"] == flavour.version:
            return full(f"module {module.version} is {flavour.version}", row)
        return refused(f"a module that is {row['flavour']} is not {flavour.version}", row)

    # -- parts -------------------------------------------------------------------------------------

    def _architecture(self, gpu: Candidate) -> tuple[Row, Row | None]:
        card = row_of(gpu)
        capability = card["compute_capability"]
        found = None if capability is None else self.facts.one("architectures", compute_capability=capability)
        return card, found

    def _first_driver(self, first_cuda: Version) -> Row | None:
        """The toolkit row whose driver is the first that knows what came with a CUDA release."""
        rows = [
            row
            for row in self.facts.all("cuda")
            if row["toolkit_driver"] is not None and Version.parse(row["release"]) >= first_cuda
        ]
        return min(rows, key=lambda row: Version.parse(row["toolkit_driver"]), default=None)

    def _lock(self, driver: Candidate) -> Row | None:
        """The fact about locks on PREEMPT_RT where this driver is older than it asks for."""
        version = Version.parse(driver.version)
        rows = [row for row in self.facts.all("preempt-rt") if row["subject"] == "lock" and row["driver_min"]]
        same = [row for row in rows if row["branch"] == version.major] or rows[:1]
        return next((row for row in same if version < Version.parse(row["driver_min"])), None)
