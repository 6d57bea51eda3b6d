# SPDX-License-Identifier: Apache-2.0
"""Text on labels: draw one, turn it into a model's input, read the model's output.

The three steps around a text recogniser of the PP-OCR family, shared by what builds a release
(golden inputs), by acceptance (fresh labels) and by the example application:

    image = render("SN 4711-0815")
    tensor = to_tensor(image)                      # what the model takes as input "x"
    text = decode(output, alphabet)                # what the model's output says

Guarantees: no IO, no state; the same image gives the same tensor on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgewright.errors import InputError

__all__ = ["HEIGHT", "decode", "render", "to_tensor"]

HEIGHT = 48
"""Height in pixels that the recogniser takes (PP-OCRv4 recognition models)."""

_FONT_SIZE = 36
_MARGIN = 8
_MAX_WIDTH = 4096
"""Widest label in pixels: past it, what was given is no single line of text."""


def render(text: str) -> Image.Image:
    """Draw one line of text, black on white, as a label's camera crop would show it.

    Args:
        text: One line; at least one character that is not a space.

    Returns:
        An RGB image of height `HEIGHT`.

    Raises:
        InputError: The text is empty or has more than one line.
    """
    if not text.strip() or "\n" in text:
        raise InputError(f"drawing a label: expected one line of text, got {text!r}")
    font = ImageFont.load_default(_FONT_SIZE)
    width = int(font.getlength(text)) + 2 * _MARGIN
    image = Image.new("RGB", (width, HEIGHT), "white")
    ImageDraw.Draw(image).text((_MARGIN, HEIGHT // 2), text, fill="black", font=font, anchor="lm")
    return image


def to_tensor(image: Image.Image) -> NDArray[np.float32]:
    """Turn an image of one line of text into the recogniser's input.

    Args:
        image: Any mode and size; scaled to `HEIGHT` with its proportions kept.

    Returns:
        float32, shape [1, 3, 48, W], channels blue, green, red, values -1 (black) to 1 (white).

    Raises:
        InputError: The image has no area, or is too wide to be one line of text.
    """
    width, height = image.size
    if not width or not height:
        raise InputError(f"reading an image: expected some pixels, got {width} x {height}")
    scaled = max(1, round(width * HEIGHT / height))
    if scaled > _MAX_WIDTH:
        raise InputError(
            f"reading an image of {width} x {height} pixels: one line of text is at most {_MAX_WIDTH} wide "
            f"at height {HEIGHT}, this one would be {scaled}; cut the line out of the picture first"
        )
    rgb = image.convert("RGB")
    if rgb.size != (scaled, HEIGHT):
        rgb = rgb.resize((scaled, HEIGHT), Image.Resampling.BILINEAR)
    pixels = np.asarray(rgb, dtype=np.float32)[:, :, ::-1]
    tensor = (pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return np.ascontiguousarray(tensor.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)


def decode(output: NDArray[np.floating], alphabet: Sequence[str]) -> str:
    """Read a recogniser's output: greedy CTC, class 0 is the blank.

    Args:
        output: Probabilities, shape [1, T, C] or [T, C], with C = 1 + len(alphabet).
        alphabet: The text of each class after the blank.

    Returns:
        The text; empty where the model saw none.

    Raises:
        InputError: The output's shape does not fit the alphabet.
    """
    scores = output[0] if output.ndim == 3 and output.shape[0] == 1 else output
    if scores.ndim != 2 or scores.shape[1] != len(alphabet) + 1:
        raise InputError(
            f"reading a model's output: expected shape [1, T, {len(alphabet) + 1}] for an alphabet of "
            f"{len(alphabet)}, got {list(output.shape)}"
        )
    text, before = "", 0
    for now in scores.argmax(axis=1).tolist():
        if now not in {before, 0}:
            text += alphabet[now - 1]
        before = now
    return text
