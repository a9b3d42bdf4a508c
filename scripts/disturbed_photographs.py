"""Photographs as tourists' cameras would have taken them: other exposures, white balance, contrast and passers-by."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

EXPOSURE = (0.5, 1.6)  # factors on sRGB values, log-uniform
WHITE_BALANCE = 0.12  # largest logarithm of a channel's factor
GAMMA = (0.8, 1.25)  # exponents of sRGB values in [0, 1], log-uniform
PERSON_HEIGHT = (0.25, 0.45)  # of the photograph's height


@dataclass(frozen=True)
class Disturbance:
    """Parts of the disturbance of a photograph."""

    colours: bool = True
    people: int = 2


def disturbed(
    photograph: np.ndarray,  # uint8 [H, W, 3]
    generator: np.random.Generator,
    parts: Disturbance = Disturbance(),
) -> np.ndarray:
    """The photograph with people pasted in, then through a camera's exposure, white balance and gamma; uint8.

    The same draws are taken whatever the parts, so that sets which differ in one part agree in the other.
    """
    gains = np.exp(generator.uniform(*np.log(EXPOSURE)) + generator.uniform(-WHITE_BALANCE, WHITE_BALANCE, 3))
    gamma = np.exp(generator.uniform(*np.log(GAMMA)))
    picture = photograph.copy()
    for _ in range(parts.people):
        _paste_person(picture, generator)
    if parts.colours:
        picture = np.rint(255 * np.clip(gains * (picture / 255) ** gamma, 0, 1)).astype(np.uint8)
    return picture


def _paste_person(picture: np.ndarray, generator: np.random.Generator) -> None:
    """An upright body and a head of textured ellipses, somewhere in the lower two thirds; in place."""
    height, width = picture.shape[:2]
    tall = generator.uniform(*PERSON_HEIGHT) * height
    x, y = generator.uniform(0.1, 0.9) * width, generator.uniform(0.45, 0.85) * height
    for top, share, slim in ((0.0, 0.75, 0.22), (-0.5, 0.25, 0.11)):
        size = (max(1, int(slim * tall)), max(1, int(share * tall / 2)))
        mask = np.zeros((height, width), np.uint8)
        cv2.ellipse(mask, (int(x), int(y + top * tall)), size, 0, 0, 360, 1, -1)
        picture[mask > 0] = _texture(height, width, generator)[mask > 0]


def _texture(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """uint8 [H, W, 3]: two colours in patches."""
    coarse = generator.uniform(0, 1, (max(2, height // 12), max(2, width // 12))).astype(np.float32)
    mix = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None].clip(0, 1)
    first, second = generator.uniform(0, 255, (2, 3))
    return np.rint(mix * first + (1 - mix) * second).astype(np.uint8)
