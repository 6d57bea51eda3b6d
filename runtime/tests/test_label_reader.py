# SPDX-License-Identifier: Apache-2.0
"""The real text-recognition model, served and asked to read labels: rapidocr-onnxruntime's recogniser."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw, ImageFont
from runtime_support.models import write_package
from runtime_support.serving import Served
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

WHEEL = "rapidocr_onnxruntime-1.4.4-py3-none-any.whl"
WHEEL_SHA256 = "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf"
MEMBER = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
LABELS = ["SN 4711-0815", "LOT B2026-11", "EW-000042"]

pytestmark = pytest.mark.slow


def cached_model() -> bytes:
    """The model's bytes, out of the wheel of PyPI, which is kept in the user's cache."""
    named = os.environ.get("EDGEWRIGHT_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgewright"
    cache = (Path(named) if named else base) / "models"
    cache.mkdir(parents=True, exist_ok=True)
    wheel = cache / WHEEL
    if not wheel.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
        done = subprocess.run(
            [*command, "rapidocr-onnxruntime==1.4.4"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"the demonstration model cannot be had from PyPI: {done.stderr.strip()[-300:]}")
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == WHEEL_SHA256
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(MEMBER)


def drawn(text: str) -> np.ndarray:
    """A label as the model wants it: FP32 [1, 3, 48, W], BGR, (pixel / 255 - 0.5) / 0.5."""
    font = ImageFont.load_default(size=36)
    width = int(font.getlength(text)) + 24
    image = Image.new("RGB", (width, 48), "white")
    ImageDraw.Draw(image).text((12, 2), text, fill="black", font=font)
    pixels = np.asarray(image, np.float32)[:, :, ::-1]
    return np.ascontiguousarray(((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None])


def read(probabilities: np.ndarray, alphabet: list[str]) -> str:
    """Greedy CTC: repeated classes count once, class 0 is blank."""
    best = probabilities[0].argmax(axis=1)
    kept = [c for i, c in enumerate(best) if c != 0 and (i == 0 or c != best[i - 1])]
    return "".join(alphabet[c - 1] for c in kept)


@pytest.fixture(scope="module")
def label_reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The model as a release packs it: golden outputs rounded to four decimals, the alphabet as parameter."""
    content = cached_model()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    alphabet = [*session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
    output = session.get_outputs()[0].name
    cases = []
    for text in LABELS[:2]:
        x = drawn(text)
        cases.append(({"x": x}, {output: session.run([output], {"x": x})[0].round(4)}))
    models = tmp_path_factory.mktemp("label-reader")
    write_package(models, "label-reader", content, cases, parameters={"alphabet": alphabet})
    with Served(models) as server:
        yield server


def test_reads_labels(label_reader: Served) -> None:
    with InferenceServerClient(label_reader.url) as client:
        metadata = client.get_model_metadata("label-reader")
        assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3, -1, -1]}]
        output = metadata["outputs"][0]["name"]
        alphabet = metadata["parameters"]["alphabet"]
        assert len(alphabet) == 6624
        for text in LABELS:
            picture = drawn(text)
            tensor = InferInput("x", list(picture.shape), "FP32").set_data_from_numpy(picture)
            result = client.infer("label-reader", [tensor], outputs=[InferRequestedOutput(output)])
            assert read(result.as_numpy(output), alphabet) == text


def test_json_gives_the_same(label_reader: Served) -> None:
    picture = drawn(LABELS[2])
    request = {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": list(picture.shape), "data": picture.tolist()},
        ]
    }
    status, answer, _ = label_reader.ask("POST", "/v2/models/label-reader/infer", request)
    assert status == 200
    alphabet = label_reader.ask("GET", "/v2/models/label-reader")[1]["parameters"]["alphabet"]
    output = answer["outputs"][0]
    assert read(np.array(output["data"]).reshape(output["shape"]), alphabet) == LABELS[2]


@pytest.mark.parametrize(
    ("height", "width"), [(48, 0), (48, 1), (48, 7), (0, 100), (1, 100), (20, 100), (100, 100)]
)
def test_a_picture_of_another_size_is_no_fault(label_reader: Served, height: int, width: int) -> None:
    """The model declares both sizes as free, and its own operators refuse most."""
    shape = [1, 3, height, width]
    data = [0.0] * (3 * height * width)
    request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]}
    status, answer, _ = label_reader.ask("POST", "/v2/models/label-reader/infer", request)
    assert status in (200, 400), answer
    assert label_reader.ask("GET", "/v2/health/ready")[0] == 200
