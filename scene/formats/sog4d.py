"""4D SOG (`.sog4d`): a splat that control points move, as one SOG bundle with the motion as more images in it.

The canonical Gaussians are a SOG scene of version 2, which other programs read as a still splat. `motion.json` and the
images that it names say how they move; docs/sog4d.md describes every byte. Places, turns and residuals of the M control
points at T moments are 16 bits between bounds, M pixels wide and T high; a neighbour and its weight are a pixel of each
Gaussian, in the order of the SOG images.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..carried_splat import carried_splat
from ..control_points import ControlPointMotion
from ..errors import BadInputError
from ..splat import MovingSplat, Splat, StaticSplat
from . import sog
from .packing import levels, unit_quats
from .sog4d_meta import (
    KIND,
    MAX_CELLS,
    MAX_NEIGHBOURS,
    MAX_SIDE,
    MOTION,
    TRACKS,
    VERSION,
    MotionMeta,
    read_motion_meta,
)
from .sog_files import (
    MAX_PIXELS,
    ZIP_MAGIC,
    SogFiles,
    decode_image,
    encode_image,
    open_scene,
    require_webp,
    write_scene,
)
from .sog_meta import read_meta

ENDING = ".sog4d"
_TOP = 65535  # of 16 bits
_PLACES = ("means_l", "means_u")  # images of SOG whose pixels say which Gaussian is where in the order
_NEGATIVE = 1 << 15  # in the index of a Gaussian's first neighbour; MAX_SIDE leaves the bit free


def is_sog4d(path: Path, head: bytes) -> bool:
    """True where a file, of which `head` is the beginning, is a bundle with a motion in it, or claims to be one."""
    if head[:4] != ZIP_MAGIC:
        return False
    if path.name.lower().endswith(ENDING):
        return True
    with contextlib.suppress(BadInputError), open_scene(path) as files:
        return files.holds(MOTION)
    return False


def read(path: Path) -> MovingSplat:
    """The moving splat of a bundle, in the frame of the file.

    Raises BadInputError for one that is damaged, cut short, of a later version, or whose motion is of other Gaussians.
    """
    require_webp()
    with open_scene(path) as files:
        if not files.holds(MOTION):
            raise BadInputError(f"{path} has no {MOTION} inside, so nothing moves; rename it to .sog to see it still.")
        meta, scene = read_motion_meta(files), read_meta(files)
        still = sog.decoded(files, scene)
        if len(still) != meta.count or meta.order_mark != _order_mark(files.read(scene.files[i]) for i in _PLACES):
            raise BadInputError(
                f"{path}: the motion was made for {meta.count} Gaussians, and not for these {len(still)} in this "
                "order: another program has changed the scene. Convert the run again, or rename the file to .sog and "
                f"remove its {MOTION} to see it still."
            )
        tensors = {name: torch.from_numpy(_values(files, meta, name)) for name in meta.tracks}
        neighbours, weights, negative = _carried(files, meta)
    gaussians = still.gaussians
    signs = torch.from_numpy(np.where(negative, -1, 1).astype(np.float32))
    gaussians = replace(gaussians, quats=gaussians.quats * signs[:, None])
    tensors["times_s"] = torch.tensor(meta.times_s, dtype=torch.float64)
    tensors |= {"neighbours": torch.from_numpy(neighbours), "weights": torch.from_numpy(weights)}
    try:
        motion = ControlPointMotion.from_tensors(tensors, len(gaussians))
    except ValueError as error:
        raise BadInputError(f"{path}: its motion is damaged: {error}.") from error
    return MovingSplat(gaussians, still.antialiased, None, still.notes, meta.background, motion=motion)


def write(path: Path, splat: Splat) -> tuple[str, ...]:
    """Write a splat that moves. The Gaussians change their order; control points that carry none are left out.

    One that moves in another way is carried by control points first, and a note says how near they come. Raises
    BadInputError for a splat that stands still, and one beyond the limits.
    """
    if not isinstance(splat, MovingSplat):
        raise BadInputError(f"The splat does not move, so {path.name} would hold no motion; save it as .sog.")
    splat, changed = carried_splat(splat)
    motion = _writable(path, splat)
    scene = sog.encoded(StaticSplat(splat.gaussians, splat.antialiased))
    images = dict(scene.files)
    meta: dict[str, Any] = {
        "version": VERSION,
        "kind": KIND,
        "generator": "Fewview",
        "gaussians": {"count": len(splat), "sha256": _order_mark(images[f"{image}.webp"] for image in _PLACES)},
        "control_points": len(motion),
        "times_s": motion.times_s.tolist(),
        "background": list(splat.background),
    }
    for name, tensor in motion.tensors().items():
        if name in TRACKS:
            meta[name], track = _track_images(name, tensor)
            images |= track
    meta["weights"], near = _neighbour_images(motion, splat.gaussians.quats, scene.order)
    text = json.dumps(meta, allow_nan=False, separators=(",", ":")).encode()
    write_scene(path, {MOTION: text, **images, **near}, scene.meta)
    return (*changed, *scene.notes)


def _writable(path: Path, splat: MovingSplat) -> ControlPointMotion:
    """The motion of a splat, of the control points that carry something. Raises BadInputError with what to do."""
    motion = splat.motion
    assert isinstance(motion, ControlPointMotion)
    motion = motion.of_used_points()
    if not all(bool(tensor.isfinite().all()) for tensor in motion.tensors().values()):
        raise BadInputError(f"The motion holds values that are no numbers, so {path.name} was not written.")
    if bool((motion.weights < 0).any()):
        raise BadInputError(f"The motion has negative weights, which {path.name} cannot hold.")
    points, moments, near = len(motion), len(motion.times_s), motion.neighbours.shape[1]
    if max(points, moments) > MAX_SIDE or points * moments > MAX_CELLS or not 1 <= near <= MAX_NEIGHBOURS:
        raise BadInputError(
            f"The motion has {points} control points at {moments} moments and {near} of them for a Gaussian; "
            f"{path.name} holds up to {MAX_SIDE} of both, {MAX_CELLS} together, and 1 to {MAX_NEIGHBOURS}. Write a "
            "sequence instead: `fewview convert INPUT NAME.sog --frames 30`."
        )
    return motion


def _order_mark(images: Iterable[bytes]) -> str:
    """The SHA-256 of the images of the places one after another: a motion is of these Gaussians in this order."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(image)
    return digest.hexdigest()


def _track_images(name: str, tensor: Tensor) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(the entry in motion.json, the two images) of a track [M, C] or [T, M, C]."""
    channels, moves = TRACKS[name]
    values = tensor.detach().cpu().double().numpy()
    values = values if moves else values[None]
    low, high = values.min((0, 1)), values.max((0, 1))
    fixed = levels((values - low) / np.where(high > low, high - low, 1) * _TOP, _TOP)
    files = {}
    for byte, part in (("l", fixed & 255), ("u", fixed >> 8)):
        image = np.full((*part.shape[:2], 4), 255, np.uint8)
        image[..., :channels] = part
        files[f"{name}_{byte}.webp"] = encode_image(image)
    return {"mins": low.tolist(), "maxs": high.tolist(), "files": list(files)}, files


def _values(files: SogFiles, meta: MotionMeta, name: str) -> np.ndarray:
    """float32 [M, C] or [T, M, C] of a track."""
    channels, moves = TRACKS[name]
    track, shape = meta.tracks[name], (len(meta.times_s) if moves else 1, meta.points)
    low, high = (_pixels(files, file, shape)[..., :channels].astype(np.int64) for file in track.files)
    values = (track.low + (track.high - track.low) * ((low | high << 8) / _TOP)).astype(np.float32)
    return values if moves else values[0]


def _neighbour_images(
    motion: ControlPointMotion, quats: Tensor, order: np.ndarray
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(the entry in motion.json, an image for each neighbour): R, G its index, B, A its weight, low byte first."""
    neighbours = motion.neighbours.cpu().numpy().astype(np.int64)
    weights = motion.weights.detach().cpu().double().numpy()
    highest = max(1.0, float(weights.max(initial=0)))
    fixed = levels(weights / highest * _TOP, _TOP).astype(np.int64)
    # SOG keeps of q and -q the one with a positive largest component; residuals are added to the one that was there.
    unit = unit_quats(quats.detach().cpu().float().numpy())
    negative = np.take_along_axis(unit, np.abs(unit).argmax(1)[:, None], 1)[:, 0] < 0
    neighbours[:, 0] |= np.where(negative, _NEGATIVE, 0)
    files = {}
    for k in range(neighbours.shape[1]):
        index, weight = neighbours[:, k], fixed[:, k]
        colors = np.stack([index & 255, index >> 8, weight & 255], axis=1)
        files[f"neighbour_{k}.webp"] = encode_image(sog.gaussian_image(order, colors, weight >> 8))
    return {"neighbours": len(files), "max": highest, "files": list(files)}, files


def _carried(files: SogFiles, meta: MotionMeta) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(neighbours int32 [N, K], weights float32 [N, K], bool [N] whether the quaternion is the negative of SOG's)."""
    neighbours = np.empty((meta.count, len(meta.neighbour_files)), np.int32)
    weights = np.empty(neighbours.shape, np.float32)
    for k, file in enumerate(meta.neighbour_files):
        pixels = _pixels(files, file, None, meta.count).astype(np.int32)
        neighbours[:, k] = pixels[:, 0] | pixels[:, 1] << 8
        weights[:, k] = (pixels[:, 2] | pixels[:, 3] << 8) / _TOP * meta.max_weight
    negative = neighbours[:, 0] & _NEGATIVE != 0
    neighbours[:, 0] &= _NEGATIVE - 1
    return neighbours, weights, negative


def _pixels(files: SogFiles, file: str, shape: tuple[int, int] | None, count: int = 0) -> np.ndarray:
    """uint8 [H, W, 4] of an image of exactly that shape, or the first `count` pixels [count, 4] of any."""
    name = files.name(file)
    most = min(MAX_PIXELS, 4 * count + 4096) if shape is None else shape[0] * shape[1]
    image, lossy = decode_image(name, files.read(file), most)
    if lossy:
        raise BadInputError(f"{name} was stored with losses, so its numbers are lost; a lossless image is expected.")
    height, width = image.shape[:2]
    if shape is not None and (height, width) != shape:
        raise BadInputError(f"{name} has {width} x {height} pixels; {shape[1]} x {shape[0]} are expected.")
    if width * height < count:
        raise BadInputError(f"{name} has {width} x {height} pixels, too few for {count} Gaussians.")
    return image if shape is not None else image.reshape(-1, 4)[:count]
