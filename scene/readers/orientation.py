"""The pixels that a data set's cameras belong to: as they lie in the file, or turned as EXIF says.

COLMAP ignores the EXIF orientation, so a model of its own is of the pixels as stored. Files with cameras from elsewhere
may be of either. The size of the camera decides where only one fits; where both do (square photographs, half turns),
correspondences between photographs are asked which fits the cameras.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import BadInputError
from ..images import ImageHeader, load_pixels
from .lens import Lens

ASPECT_TOLERANCE = 0.015  # relative; resizing keeps the aspect but for rounding to whole pixels
_SIDE_PX = 800  # longer side of the photographs that are matched
_NEAR_PX = 2.0  # of an epipolar line, at that size
_RATIO = 0.75  # of the best to the second best descriptor distance (Lowe 2004)
_PAIRS = 4  # that are looked at
_ENOUGH = 20  # matches that must fit, and half as many more than for the other way


@dataclass(frozen=True)
class Oriented:
    """One photograph, and how its pixels are taken."""

    header: ImageHeader  # of the pixels as they are taken
    as_stored: bool


@dataclass(frozen=True)
class PosedFile:
    """A photograph with its camera, whose orientation is to be found."""

    path: Path
    header: ImageHeader  # upright
    width: float  # of the camera, pixels
    height: float
    cam_from_world: np.ndarray  # float64 [4, 4]
    lens: Callable[[ImageHeader], Lens]  # for the pixels taken so


def fits(width: float, height: float, camera_width: float, camera_height: float) -> bool:
    """True where a photograph can be a resized one of the camera's size: a crop or a turn has another aspect."""
    wanted_height, wanted_width = width * camera_height / camera_width, height * camera_width / camera_height
    across = abs(width - wanted_width) <= max(1.0, ASPECT_TOLERANCE * wanted_width)
    return across or abs(height - wanted_height) <= max(1.0, ASPECT_TOLERANCE * wanted_height)


def orient(files: Sequence[PosedFile], max_megapixels: float, *, prefer_stored: bool) -> list[Oriented | None]:
    """Orientations of the photographs; None for one that its camera does not fit either way.

    `prefer_stored` is for COLMAP's own models, where as stored is right whenever it fits. Else, where both fit, matches
    between the photographs decide for all of them together, and as stored is taken where they do not say.
    """
    found: list[Oriented | None] = []
    open_questions: list[int] = []
    for i, file in enumerate(files):
        upright, stored = file.header, file.header.as_stored()
        stored_fits = fits(stored.width, stored.height, file.width, file.height)
        upright_fits = fits(upright.width, upright.height, file.width, file.height)
        if upright.orientation == 1:
            found.append(Oriented(stored, False) if stored_fits else None)
        elif stored_fits and (prefer_stored or not upright_fits):
            found.append(Oriented(stored, True))
        elif not stored_fits:
            found.append(Oriented(upright, False) if upright_fits else None)
        else:
            found.append(Oriented(stored, True))
            open_questions.append(i)
    if open_questions and _upright_matches_better(files, found, open_questions, max_megapixels):
        for i in open_questions:
            found[i] = Oriented(files[i].header, False)
    return found


def misfit(file: PosedFile) -> str:
    """A sentence about a photograph that its camera does not fit."""
    header = file.header
    turn = fits(header.height, header.width, file.width, file.height)
    return (
        f"{file.path} has {header.width} x {header.height} pixels and its camera {file.width:g} x {file.height:g}: "
        f"that is no resize but {'a turn' if turn else 'a crop'}; the photographs that the cameras were made for are "
        "expected."
    )


def orientation_note(files: Sequence[PosedFile], oriented: Sequence[Oriented | None]) -> list[str]:
    """A sentence where EXIF asks for a turn of some photographs, on what was done; nothing where it does not."""
    asked = [o for file, o in zip(files, oriented, strict=True) if o is not None and file.header.orientation != 1]
    if not asked:
        return []
    stored = sum(o.as_stored for o in asked)
    what = (
        "their pixels were taken as stored, which is what the cameras fit"
        if stored == len(asked)
        else "they were turned so, which is what the cameras fit"
        if stored == 0
        else f"{stored} were taken as stored and {len(asked) - stored} turned so, as the cameras fit"
    )
    return [f"EXIF asks for a turn of {len(asked)} of {len(files)} photographs; {what}."]


def _upright_matches_better(
    files: Sequence[PosedFile], found: Sequence[Oriented | None], open_questions: list[int], max_megapixels: float
) -> bool:
    """True where matches fit the cameras clearly better with the open photographs turned as EXIF says."""
    usable = [i for i, o in enumerate(found) if o is not None]
    stored = upright = 0
    for a, b in itertools.islice(_likely_pairs(files, usable, set(open_questions)), _PAIRS):
        counts = []
        for turned in (False, True):
            two = []
            for i in (a, b):
                plain = found[i]
                assert plain is not None
                two.append(Oriented(files[i].header, False) if turned and i in open_questions else plain)
            try:
                counts.append(_matches_that_fit(files[a], two[0], files[b], two[1], max_megapixels))
            except BadInputError:  # a photograph that does not decode is left out elsewhere
                counts.append(0)
        stored, upright = stored + counts[0], upright + counts[1]
    return upright >= _ENOUGH and upright > 1.5 * stored


def _likely_pairs(files: Sequence[PosedFile], usable: list[int], asked: set[int]) -> list[tuple[int, int]]:
    """Pairs with an open question that look in the most similar directions, those with some baseline."""
    axes = {i: files[i].cam_from_world[2, :3] for i in usable}
    centers = {i: -files[i].cam_from_world[:3, :3].T @ files[i].cam_from_world[:3, 3] for i in usable}
    pairs = [p for p in itertools.combinations(usable[:200], 2) if (p[0] in asked or p[1] in asked)]
    apart = [p for p in pairs if np.linalg.norm(centers[p[0]] - centers[p[1]]) > 0]
    return sorted(apart, key=lambda p: -float(axes[p[0]] @ axes[p[1]]))


def _matches_that_fit(file_a: PosedFile, a: Oriented, file_b: PosedFile, b: Oriented, max_megapixels: float) -> int:
    """Matches of SIFT (Lowe 2004) whose epipolar distance (Sampson's) is small under the given cameras."""
    features, K = [], []
    for file, way in ((file_a, a), (file_b, b)):
        lens = file.lens(way.header)
        pixels = lens.undistort(load_pixels(file.path, max_megapixels, as_stored=way.as_stored)[..., :3])
        factor = min(1.0, _SIDE_PX / max(pixels.shape[:2]))
        grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), None, fx=factor, fy=factor)
        features.append(cv2.SIFT.create(nfeatures=1500).detectAndCompute(grey, None))
        K.append(np.diag([factor, factor, 1.0]) @ lens.K)
    (keys_a, found_a), (keys_b, found_b) = features
    if found_a is None or found_b is None or len(keys_a) < 2 or len(keys_b) < 2:
        return 0
    matches = cv2.BFMatcher().knnMatch(found_a, found_b, k=2)
    good = [m for m, second in matches if m.distance < _RATIO * second.distance]
    if not good:
        return 0
    # OpenCV counts from the centre of the first pixel.
    points = [
        np.array([(keys[index].pt[0] + 0.5, keys[index].pt[1] + 0.5, 1.0) for index in chosen])
        for keys, chosen in ((keys_a, [m.queryIdx for m in good]), (keys_b, [m.trainIdx for m in good]))
    ]
    b_from_a = file_b.cam_from_world @ np.linalg.inv(file_a.cam_from_world)
    x, y, z = b_from_a[:3, 3] / max(float(np.linalg.norm(b_from_a[:3, 3])), 1e-300)
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ b_from_a[:3, :3]
    fundamental = np.linalg.inv(K[1]).T @ essential @ np.linalg.inv(K[0])
    lines_b, lines_a = points[0] @ fundamental.T, points[1] @ fundamental
    error = (points[1] * lines_b).sum(1) ** 2
    scale = (lines_b[:, :2] ** 2).sum(1) + (lines_a[:, :2] ** 2).sum(1)
    return int((error <= _NEAR_PX**2 * scale).sum())
