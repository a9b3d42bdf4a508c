"""Masks of an object before a plain background: by the background's colour, and GrabCut (Rother et al. 2004)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...scene.capture import Capture, Frame
from ...scene.errors import BadInputError
from ...scene.progress import Progress, silent
from ...scene.readers.safe_paths import listed

SIDE_PX = 360  # at which pictures are cut; the outline is no finer
RING = 0.03  # of the shorter side: the border in which the background is looked for
PLAIN_SHARE = 0.75  # of that border which has to be of one colour, evenly shaded
TOLERANCE = 5.0  # CIELAB: what counts as the background's colour at least; noise adds to it
CRUMB = 0.05  # of the largest part: smaller ones are left out
MOST_JUMP = 1.4  # factor on the area from the film's median, beyond which a mask is doubted
MOST_UNSURE = 0.5  # of the frames: with more, the film is refused
_ROUNDS = 2  # of GrabCut


@dataclass(frozen=True)
class CutOut:
    """The mask of one picture."""

    mask: np.ndarray  # [H, W] bool, True for the object
    plain: float  # share of the border that is of one colour
    faint: bool  # whether much of the outline has nearly the background's colour


def cut_out(
    pixels: np.ndarray,  # [H, W, 3] uint8 sRGB
) -> CutOut:
    """The object that stands before a background of one colour, which may be shaded evenly across the picture."""
    height, width = pixels.shape[:2]
    factor = min(1.0, SIDE_PX / max(height, width))
    small = cv2.resize(
        pixels, (max(1, round(width * factor)), max(1, round(height * factor))), interpolation=cv2.INTER_AREA
    )
    far, plain = _from_background(small)
    rows, columns = small.shape[:2]
    ring = _ring(rows, columns)
    found = np.zeros((rows, columns), bool)
    if 0 < (far > 1).sum() < far.size and (ring & (far < 1)).any():
        kind = np.where(far > 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        kind[ring & (far < 1)] = cv2.GC_BGD
        kind[cv2.erode((far > 3).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = cv2.GC_FGD
        cv2.setRNGSeed(0)
        picture, back, front = small[..., ::-1].copy(), np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(picture, kind, [0, 0, 1, 1], back, front, _ROUNDS, cv2.GC_INIT_WITH_MASK)  # no rectangle is used
        found = _large_parts((kind == cv2.GC_FGD) | (kind == cv2.GC_PR_FGD))
    outline = found & ~(cv2.erode(found.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
    faint = bool(outline.any()) and float(np.median(far[outline])) < 2
    large = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    return CutOut(large, plain, faint)


def with_plain_backgrounds_cut_out(capture: Capture, progress: Progress = silent) -> Capture:
    """A capture whose frames have masks of the object; as it is where frames are transparent or have masks already.

    Notes say what was done, and of which masks it is not sure. Raises BadInputError for backgrounds that are not plain.
    """
    if any(frame.load_mask is not None for frame in capture.frames):
        return capture
    found = []
    for done, frame in enumerate(capture.frames):
        progress("cutting out", done, len(capture))
        pixels = frame.load()
        if pixels.shape[-1] == 4:
            return capture
        found.append(cut_out(pixels))
    names = capture.names
    uneven = [name for name, one in zip(names, found, strict=True) if one.plain < PLAIN_SHARE]
    if len(uneven) > MOST_UNSURE * len(names):
        share = sorted(one.plain for one in found)[len(found) // 2]
        raise BadInputError(
            f"The photographs of {capture.source} are neither transparent nor masked, and their background is not "
            f"plain ({share:.0%} of the border has one colour): give RGBA pictures, or a folder masks/ beside them."
        )
    areas = [float(one.mask.mean()) for one in found]
    usual = sorted(areas)[len(areas) // 2]
    doubtful = [
        name
        for name, one, area in zip(names, found, areas, strict=True)
        if name in uneven or one.faint or not usual / MOST_JUMP <= area <= usual * MOST_JUMP
    ]
    notes = [
        f"The background of {len(names)} photographs, which are neither transparent nor masked, was cut out by its "
        "colour: what has the same colour in the object is missing, and shadows may be taken for it."
    ]
    if doubtful:
        notes.append(
            f"It is not sure of {len(doubtful)} of them ({listed(doubtful)}): the background is not plain, the outline "
            "is faint, or the object is much larger or smaller than in the others. Masks in masks/ would be taken."
        )
    frames = tuple(_masked(frame, one.mask) for frame, one in zip(capture.frames, found, strict=True))
    return replace(capture, frames=frames, notes=(*capture.notes, *notes))


def _masked(frame: Frame, mask: np.ndarray) -> Frame:
    packed = np.packbits(mask)  # of all frames, so that an eighth is kept

    def load() -> np.ndarray:
        return np.unpackbits(packed, count=mask.size).astype(bool).reshape(mask.shape)

    return replace(frame, load_mask=load)


def _ring(rows: int, columns: int) -> np.ndarray:
    ring, wide = np.ones((rows, columns), bool), max(1, round(RING * min(rows, columns)))
    ring[wide:-wide, wide:-wide] = False
    return ring


def _from_background(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """(distance [H, W] of each pixel from the background's colour, 1 where it stops being it; share of the border).

    The background's colour is linear across the picture, fitted to the border and then to what agrees with it.
    """
    rows, columns = pixels.shape[:2]
    colors = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    places = np.stack([np.ones_like(x), x, y], axis=-1)
    ring = _ring(rows, columns)
    at, seen = places[ring], colors[ring]
    agrees = np.linalg.norm(seen - np.median(seen, axis=0), axis=1) < 4 * TOLERANCE
    tolerance = TOLERANCE
    plane = np.zeros((3, 3))
    for _ in range(4):
        if agrees.sum() < 8:
            return np.full((rows, columns), np.inf), 0.0
        plane = np.linalg.lstsq(at[agrees], seen[agrees], rcond=None)[0]
        apart = np.linalg.norm(seen - at @ plane, axis=1)
        tolerance = TOLERANCE + 2 * float(np.median(apart[agrees]))
        agrees = apart < tolerance
    far: np.ndarray = np.linalg.norm(colors - places @ plane, axis=-1) / tolerance
    return far, float(agrees.mean())


def _large_parts(mask: np.ndarray) -> np.ndarray:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    kept: np.ndarray = areas >= CRUMB * areas.max()
    return kept[labels] & mask
