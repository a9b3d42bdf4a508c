"""A pool of surface textures for generated scenes: invented ones, and photographs of packages where they are there.

Gym-MiniWorld's textures (Apache-2.0) come in the package `gym-miniworld`, Robosuite's (MIT) in `robosuite`, photographs
of things and grounds in `scikit-image`, panoramas of Poly Haven (CC0) in `viser`. Nothing of the packages is run.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

SIDE_PX = 256
PHOTOGRAPHS = (  # packages and what is a picture in them
    ("gym_miniworld", "textures/*.png"),
    ("robosuite", "models/assets/textures/*.png"),
    ("skimage", "data/*.[jp][pn]g"),
    ("viser", "_assets/hdri/*.jpg"),
)
LEVELS = 7  # of each texture's pyramid, down to 4 x 4


def noise(rng: Generator, cells: float, octaves: int = 5, fall: float = 0.6, stretch: float = 1.0) -> np.ndarray:
    """Fractal noise [SIDE, SIDE] of about unit spread; `stretch` above 1 draws it out along rows."""
    total = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    for octave in range(octaves):
        rows, columns = (max(2, min(SIDE_PX, round(c * 2**octave))) for c in (cells * stretch, cells))
        lattice = rng.standard_normal((rows, columns)).astype(np.float32)
        total += fall**octave * cv2.resize(lattice, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    return total / max(float(total.std()), 1e-6)


def color(rng: Generator) -> np.ndarray:
    """A linear colour [3], most often a dull one, as of walls and wood."""
    grey = rng.uniform(0.08, 0.85)
    tint = rng.uniform(-1, 1, 3) * (0.08 if rng.random() < 0.6 else 0.35)
    return np.clip(grey * (1 + tint), 0.03, 0.95).astype(np.float32)


def mixed(a: np.ndarray, b: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Colours [SIDE, SIDE, 3]: `a` where amount [SIDE, SIDE] is 0 and below, `b` where it is 1 and above."""
    return a + (b - a) * np.clip(amount, 0, 1)[..., None]


def invented(rng: Generator) -> np.ndarray:
    """A linear texture [SIDE, SIDE, 3] float32 of a random kind."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.float32)
    a, b, c = color(rng), color(rng), color(rng)
    kind = rng.integers(9)
    if kind == 0:  # even, as paint
        picture = mixed(a, b, 0.06 * noise(rng, 3))
    elif kind == 1:  # clouds
        picture = mixed(a, b, 0.5 + 0.35 * noise(rng, rng.uniform(2, 12)))
    elif kind == 2:  # wood
        rings = noise(rng, 3, stretch=0.2) * rng.uniform(1, 4) + y / rng.uniform(8, 30)
        picture = mixed(a, 0.6 * a, 0.5 + 0.5 * np.sin(rings * 2) + 0.2 * noise(rng, 40, 2, stretch=0.1))
    elif kind == 3:  # bricks or tiles
        high, wide = rng.integers(12, 64, 2)
        row = np.floor(y / high)
        shift = (row % 2) * wide / 2 * rng.integers(2)
        column = np.floor((x + shift) / wide)
        joint = ((y % high) < rng.uniform(1, 4)) | (((x + shift) % wide) < rng.uniform(1, 4))
        shade = np.sin(row * 12.9898 + column * 78.233) * 43758.5453
        picture = mixed(a, b, (shade - np.floor(shade)) * rng.uniform(0, 0.7) + 0.08 * noise(rng, 20))
        picture = mixed(picture, c, joint.astype(np.float32))
    elif kind == 4:  # checks and stripes
        step = rng.uniform(6, 40, 2)
        across, down = (x / step[0]).astype(int) % 2, (y / step[1]).astype(int) % 2
        picture = mixed(a, b, (across ^ (down * rng.integers(2))).astype(np.float32) + 0.1 * noise(rng, 20))
    elif kind == 5:  # grain, as of carpet, gravel and leaves
        picture = mixed(a, b, 0.5 + 0.5 * noise(rng, rng.uniform(20, 90), 3, 0.8))
    elif kind == 6:  # spots
        picture = mixed(a, b, 8 * (noise(rng, rng.uniform(4, 20), 2) - rng.uniform(0, 1.5)))
    elif kind == 7:  # print: dark lines of words
        line, word = rng.uniform(8, 24), rng.uniform(3, 10)
        inked = ((y % line) < 0.55 * line) & (np.sin(x / word + 7 * np.floor(y / line)) + 0.5 * noise(rng, 30, 2) > 0)
        picture = mixed(a, b, inked.astype(np.float32) * (noise(rng, 3, 2) > -0.5))
    else:  # fur and grass
        picture = mixed(a, b, 0.5 + 0.4 * noise(rng, rng.uniform(6, 16), 4, 0.9, stretch=rng.uniform(0.1, 0.4)))
        picture = mixed(picture, c, noise(rng, 3, 2) - 0.8)
    return np.clip(picture, 0.01, 1).astype(np.float32)


def photographic() -> list[np.ndarray]:
    """Linear textures [SIDE, SIDE, 3] of the packages that are installed, in the order of their names."""
    pictures = []
    for package, pattern in PHOTOGRAPHS:
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            continue
        for path in sorted(Path(found.submodule_search_locations[0]).glob(pattern)):
            bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if bgr is None or min(bgr.shape[:2]) < 64:
                continue
            for part in _squares(bgr[..., ::-1]):
                square = cv2.resize(part, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
                pictures.append((square.astype(np.float32) / 255) ** 2.2)
    return pictures


def _squares(picture: np.ndarray) -> list[np.ndarray]:
    """The squares [S, S, 3] that a picture [H, W, 3] is cut into: several where it is a panorama."""
    side = min(picture.shape[:2])
    count = max(picture.shape[:2]) // side
    if count == 1:
        return [picture]
    first = np.linspace(0, max(picture.shape[:2]) - side, count).astype(int)
    return [picture[:side, at : at + side] if picture.shape[1] > side else picture[at : at + side] for at in first]


class Textures:
    """A pool with a pyramid of each, sampled by place and footprint."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 11])
        pictures = photographic()
        pictures += [invented(rng) for _ in range(max(0, count - len(pictures)))]
        levels = [np.stack(pictures)]
        for _ in range(LEVELS - 1):
            one = levels[-1]
            levels.append((one[:, ::2, ::2] + one[:, 1::2, ::2] + one[:, ::2, 1::2] + one[:, 1::2, 1::2]) / 4)
        self.levels = levels

    def __len__(self) -> int:
        return len(self.levels[0])

    def sample(
        self,
        which: np.ndarray,  # [N] int, of the pool
        place: np.ndarray,  # [N, 2] in textures; repeats
        footprint: np.ndarray,  # [N] of a pixel, in textures
    ) -> np.ndarray:
        """Linear colours [N, 3], bilinear in the level whose texels are about as large as the footprint."""
        level = np.clip(np.round(np.log2(np.maximum(footprint * SIDE_PX, 1e-6))), 0, LEVELS - 1).astype(int)
        out = np.empty((len(which), 3), np.float32)
        for k in np.unique(level):
            rows = np.nonzero(level == k)[0]
            texture = self.levels[k]
            side = texture.shape[1]
            at = place[rows] * side - 0.5
            corner = np.floor(at).astype(np.int64)
            w = (at - corner).astype(np.float32)
            j, i = (corner % side).T
            j1, i1 = (j + 1) % side, (i + 1) % side
            t = which[rows]
            top = texture[t, i, j] * (1 - w[:, :1]) + texture[t, i, j1] * w[:, :1]
            low = texture[t, i1, j] * (1 - w[:, :1]) + texture[t, i1, j1] * w[:, :1]
            out[rows] = top * (1 - w[:, 1:]) + low * w[:, 1:]
        return out
