"""Pictures painted by chance, for surfaces: noise, stripes, checks, spots and strokes."""

from __future__ import annotations

import cv2
import numpy as np

SIDE_PX = 256


def painted(rng: np.random.Generator) -> np.ndarray:
    """A picture [256, 256, 3] uint8 of two to four layers."""
    picture = np.ones((SIDE_PX, SIDE_PX, 3), np.float32) * _color(rng)
    for layer in rng.choice([_noise, _stripes, _checks, _spots, _strokes], int(rng.integers(2, 5))):
        weight = layer(rng)[..., None]
        picture = picture * (1 - weight) + _color(rng) * weight
    return np.clip(picture * 255, 0, 255).astype(np.uint8)


def _color(rng: np.random.Generator) -> np.ndarray:
    value, spread = rng.uniform(0.1, 0.95), rng.uniform(0, 0.5)
    return np.clip(value + rng.uniform(-spread, spread, 3), 0.03, 1).astype(np.float32)


def _noise(rng: np.random.Generator) -> np.ndarray:
    cells = int(rng.choice([4, 8, 16, 32]))
    coarse = rng.random((cells, cells), dtype=np.float32)
    fine = cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    return np.clip((fine - 0.5) * rng.uniform(1, 6) + 0.5, 0, 1)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX * 2 * np.pi
    a, b = rng.integers(0, 7, 2)
    wave = np.sin(a * x + b * y + rng.uniform(0, 6))
    return (wave > rng.uniform(-0.5, 0.8)).astype(np.float32)


def _checks(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    side = int(rng.choice([16, 32, 64]))
    return ((x // side + y // side) % 2).astype(np.float32)


def _spots(rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    for _ in range(int(rng.integers(4, 30))):
        centre = [int(v) for v in rng.integers(0, SIDE_PX, 2)]
        cv2.circle(canvas, centre, int(rng.integers(4, 34)), 255, -1, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def _strokes(rng: np.random.Generator) -> np.ndarray:
    """Lines, boxes and letters, as on packages."""
    canvas = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    for _ in range(int(rng.integers(3, 12))):
        a, b = ([int(v) for v in rng.integers(0, SIDE_PX, 2)] for _ in range(2))
        kind = int(rng.integers(3))
        if kind == 0:
            cv2.line(canvas, a, b, 255, int(rng.integers(2, 12)), cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(canvas, a, b, 255, int(rng.choice([-1, 3, 6])))
        else:
            word = "".join(chr(int(c)) for c in rng.integers(65, 91, int(rng.integers(2, 7))))
            cv2.putText(canvas, word, a, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.6, 2.5), 255, 3, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255
