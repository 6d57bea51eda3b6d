# SPDX-License-Identifier: Apache-2.0
"""Whether CUDA, cuDNN, TensorRT, onnxruntime-gpu and Python go together, judged by the facts alone. Pure."""

from __future__ import annotations

from edgewright.release.stack.answers import full, judged, minor, refused, row_of, unknown
from edgewright.release.stack.model import Answer, Candidate
from edgewright.release.stack.version import Version

__all__ = ["Libraries"]


class Libraries:
    """The judges for what runs on the driver."""

    def cuda_cudnn(self, cuda: Candidate, cudnn: Candidate) -> Answer:
        """cuDNN is built for the CUDA major, and tested up to a minor."""
        row, version = row_of(cudnn), Version.parse(cuda.version)
        majors, tested = row["cuda_majors"], row["max_tested_cuda"]
        if majors is None:
            return unknown(f"no verified source names the CUDA majors of cuDNN {cudnn.version}", row)
        if version.major not in majors:
            return refused(
                f"cuDNN {cudnn.version} is built for CUDA {_either(majors)}, not for CUDA {version.major}",
                row,
            )
        if tested is None:
            return minor(
                f"cuDNN {cudnn.version} is built for CUDA {version.major}; the minors it was tested with are"
                " not named",
                row,
            )
        if Version.parse(version.minor) <= Version.parse(tested):
            return full(f"cuDNN {cudnn.version} is tested with CUDA up to {tested}", row)
        return minor(
            f"cuDNN {cudnn.version} is built for CUDA {version.major} and tested up to {tested}, not with"
            f" {version.minor}",
            row,
        )

    def cuda_tensorrt(self, cuda: Candidate, tensorrt: Candidate) -> Answer:
        """TensorRT lists the CUDA minor, or at least its major."""
        row, version = row_of(tensorrt), Version.parse(cuda.version)
        minors, majors = row["cuda"], row["cuda_majors"]
        if minors is None or majors is None:
            return unknown(f"no verified source names the CUDA of TensorRT {tensorrt.version}", row)
        if version.minor in minors:
            return full(f"TensorRT {tensorrt.version} lists CUDA {version.minor}", row)
        if version.major in majors:
            return minor(
                f"TensorRT {tensorrt.version} is published for CUDA {version.major}, and CUDA {version.minor}"
                " is not among the minors that its sources list",
                row,
            )
        return refused(
            f"TensorRT {tensorrt.version} is published for CUDA {_either(majors)}, not for CUDA"
            f" {version.major}",
            row,
        )

    def cuda_onnxruntime(self, cuda: Candidate, runtime: Candidate) -> Answer:
        """onnxruntime-gpu links the libraries of one CUDA major."""
        row, version = row_of(runtime), Version.parse(cuda.version)
        why = f"onnxruntime-gpu {runtime.version} on PyPI links CUDA {row['cuda_major']}"
        return judged(
            row["cuda_major"],
            lambda major: major == version.major,
            row,
            absent=f"no verified source names the CUDA of onnxruntime-gpu {runtime.version}",
            yes=why,
            no=f"{why}, not CUDA {version.major}",
        )

    def tensorrt_onnxruntime(self, tensorrt: Candidate, runtime: Candidate) -> Answer:
        """onnxruntime's TensorRT provider links one libnvinfer.so; an older one may lack parts."""
        row, mine = row_of(runtime), row_of(tensorrt)
        soname, built = row["tensorrt_soname"], row["tensorrt"]
        if soname is None or mine["soname"] is None:
            return unknown(
                f"no verified source names the TensorRT that onnxruntime-gpu {runtime.version} links",
                row,
                mine,
            )
        if mine["soname"] != soname:
            return refused(
                f"the TensorRT provider of onnxruntime-gpu {runtime.version} links libnvinfer.so.{soname},"
                f" and TensorRT {mine['soname']} brings libnvinfer.so.{mine['soname']}",
                row,
                mine,
            )
        version = Version.parse(tensorrt.version)
        if built is None:
            return minor(
                f"onnxruntime-gpu {runtime.version} links libnvinfer.so.{soname}, which TensorRT"
                f" {version.minor} brings; the minor it was built with is not named",
                row,
                mine,
            )
        if version.minor == Version.parse(built).minor:
            return full(f"onnxruntime-gpu {runtime.version} is built with TensorRT {built}", row, mine)
        if version < Version.parse(built):
            return refused(
                f"onnxruntime-gpu {runtime.version} is built with TensorRT {built}, and"
                f" {version.minor} is older",
                row,
                mine,
            )
        return minor(
            f"onnxruntime-gpu {runtime.version} is built with TensorRT {built}; {version.minor} has the same"
            f" libnvinfer.so.{soname}",
            row,
            mine,
        )

    def tensorrt_cudnn(self, tensorrt: Candidate, cudnn: Candidate) -> Answer | None:
        """Only TensorRT 8 needs a cuDNN; for TensorRT 10 it is optional."""
        row = row_of(tensorrt)
        needs = row["cudnn"]
        if needs is None or needs == "optional":
            return None
        version = Version.parse(cudnn.version)
        if version.below(Version.parse(needs)):
            return full(f"TensorRT {tensorrt.version} lists cuDNN {needs}", row)
        if version.major == Version.parse(needs).major and version > Version.parse(needs):
            return minor(f"TensorRT {tensorrt.version} lists cuDNN {needs}, older than {cudnn.version}", row)
        return refused(f"TensorRT {tensorrt.version} needs cuDNN {needs}", row)

    def library_python(self, library: Candidate, python: Candidate) -> Answer:
        """There is a wheel for the Python."""
        row, name = row_of(library), f"{library.item} {library.version}"
        return judged(
            row["pythons"],
            lambda pythons: python.version in pythons,
            row,
            absent=f"no verified source names the Pythons of {name}",
            yes=f"{name} has a wheel for Python {python.version}",
            no=lambda pythons: f"{name} has wheels for Python {_span(pythons)} only",
        )

    def onnxruntime_cudnn(self, runtime: Candidate, cudnn: Candidate) -> Answer:
        """onnxruntime is built with one cuDNN major, and another does not work."""
        row, version = row_of(runtime), Version.parse(cudnn.version)
        why = f"onnxruntime-gpu {runtime.version} is built with cuDNN {row['cudnn_major']}"
        return judged(
            row["cudnn_major"],
            lambda major: major == version.major,
            row,
            absent=f"no verified source names the cuDNN of onnxruntime-gpu {runtime.version}",
            yes=why,
            no=f"{why}, and cuDNN {version.major} does not go with it",
        )


def _either(numbers: list[int]) -> str:
    return " or ".join(str(number) for number in numbers)


def _span(versions: list[str]) -> str:
    ordered = sorted(versions, key=Version.parse)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"
