"""SOG (PlayCanvas): a splat as a handful of lossless images and a `meta.json`, in one ZIP or in a folder.

| image          | a pixel is a Gaussian; R, G, B                                | A                             |
|----------------|---------------------------------------------------------------|-------------------------------|
| means_l, _u    | low and high byte of 16 bits between the bounds of            | 255                           |
|                | sign(x) ln(1 + |x|), for each axis                            |                               |
| quats          | three components of the unit quaternion, times sqrt 2         | 252 + index of the largest of |
|                |                                                               | w, x, y, z, which is left out |
| scales         | indices into a codebook of log-scales                         | 255                           |
| sh0            | indices into a codebook of constant coefficients              | opacity * 255                 |
| shN_labels     | low and high byte of the index of a palette entry, 0          | 255                           |
| shN_centroids  | the palette: 64 entries a row, a pixel a coefficient; indices | 255                           |
|                | into a third codebook                                         |                               |

Sources: developer.playcanvas.com, "The SOG Format"; github.com/playcanvas/splat-transform, `read-sog.ts`.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import BadInputError
from ..files import parse_json
from ..gaussians import Gaussians
from ..splat import StaticSplat
from .clean import arrays, usable_gaussians
from .codebook import codebook
from .compressed_ply import morton_order
from .packing import clamped_note, levels, lowered, refuse_empty, sigmoid, unit_quats
from .palette import palette
from .sog_files import (
    MAX_META_BYTES,
    META,
    ZIP_MAGIC,
    SogFiles,
    decode_image,
    encode_image,
    open_scene,
    require_webp,
    write_scene,
)
from .sog_meta import COEFFICIENTS, ENTRIES_A_ROW, MAX_ENTRIES, SogMeta, read_meta

_NAME = "SOG"
_MAX_COORDINATE = 1e37  # so that what comes out of the logarithm is a float32 again
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -20.0, 20.0
_MAX_COEFFICIENT = 1e4  # of a colour: a wild one would take the codebook's levels from the others
# Steps that pictures do not show: 1.4 % of a size and half a level of 255 of a colour, as root mean squares.
_LOG_SCALE_STEP, _COLOR_STEP = 0.05, 0.014
_GAUSSIANS_A_COLOR = 8  # palette entries cost the most, so there is one for about so many Gaussians
_MIN_ENTRIES = 1024
_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])  # the components beside the largest


@dataclass(frozen=True)
class EncodedScene:
    """The files of a scene before they are written."""

    files: dict[str, bytes]  # the images
    meta: bytes
    order: np.ndarray  # [N] which Gaussian of the splat has the file's i-th pixel
    notes: tuple[str, ...]  # what was clamped or lost


def is_sog(path: Path, head: bytes) -> bool:
    """True where a file, of which `head` is the beginning, is a SOG bundle or the `meta.json` of one."""
    name = path.name.lower()
    loose = name.endswith(META) and not name.endswith(f"lod-{META}")  # the latter names the scenes of a streamed one
    return head[:4] == ZIP_MAGIC or (loose and head.lstrip()[:1] == b"{")


def is_sog_folder(folder: Path) -> bool:
    """True where a folder holds an unbundled scene: its images look like photographs, but its meta.json tells."""
    meta = folder / META
    try:
        if not meta.is_file() or meta.stat().st_size > MAX_META_BYTES:
            return False
        table = parse_json(meta.read_bytes(), str(meta))
    except (BadInputError, OSError):
        return False
    return isinstance(table, dict) and all(isinstance(table.get(part), dict) for part in ("means", "quats", "scales"))


def bundle(path: Path) -> bytes:
    """The bundle of an unbundled scene, given its meta.json; the images go in as they are. Raises BadInputError."""
    with open_scene(path) as files, tempfile.TemporaryDirectory(prefix="fewview_") as folder:
        images = {file: files.read(file) for file in read_meta(files).files.values()}
        whole = Path(folder) / "scene.sog"
        write_scene(whole, images, files.read(META, MAX_META_BYTES))
        return whole.read_bytes()


def read(path: Path) -> StaticSplat:
    """A bundle `scene.sog` or an unbundled `meta.json`, version 1 or 2, in the frame of the file.

    Raises BadInputError for a file that is damaged, cut short or of a later version, and for a missing image.
    """
    require_webp()
    with open_scene(path) as files:
        return decoded(files, read_meta(files))


def decoded(files: SogFiles, meta: SogMeta) -> StaticSplat:
    """The splat of an open scene, in the order of its pixels. Raises BadInputError."""
    notes = list(meta.notes)
    pixels = {kind: _pixels(files, meta, kind, notes) for kind in ("means_l", "means_u", "scales", "quats", "sh0")}
    rest = _rest(files, meta, notes)
    fixed = pixels["means_l"][:, :3].astype(np.int64) | pixels["means_u"][:, :3].astype(np.int64) << 8
    folded = meta.means_low + (meta.means_high - meta.means_low) * (fixed / 65535)
    means = np.copysign(np.expm1(np.abs(folded)), folded).astype(np.float32)
    axes = np.arange(3)
    sh = np.concatenate([meta.sh0[axes, pixels["sh0"][:, :3]][:, None], rest], axis=1)
    gaussians, left_out = usable_gaussians(
        files.where,
        means,
        _quats(pixels["quats"]),
        meta.scales[axes, pixels["scales"][:, :3]],
        meta.opacity[pixels["sh0"][:, 3]],
        sh,
    )
    return StaticSplat(gaussians, meta.antialiased, notes=(*notes, *left_out))


def write(path: Path, splat: StaticSplat) -> tuple[str, ...]:
    """Write SOG version 2: a bundle, or loose files where the name ends in `.json`. The Gaussians change their order.

    Costs about 20 microseconds a Gaussian of degree 3 on one core. Raises BadInputError for an empty splat.
    """
    scene = encoded(splat)
    write_scene(path, scene.files, scene.meta)
    return scene.notes


def encoded(splat: StaticSplat) -> EncodedScene:
    """SOG version 2 of a splat. Raises BadInputError for an empty one."""
    require_webp()
    refuse_empty(splat, _NAME)
    gaussians, notes = lowered(splat, 3, _NAME)
    means, quats, log_scales, logits, sh = arrays(gaussians)
    means, log_scales, sh, clamped = _clamped(means, log_scales, sh)
    notes += clamped
    folded = np.copysign(np.log1p(np.abs(means.astype(np.float64))), means)
    low, high = folded.min(0), folded.max(0)
    fixed = levels((folded - low) / np.where(high > low, high - low, 1) * 65535, 65535)
    order = morton_order(fixed)
    scale_levels, scale_labels = codebook(log_scales, _LOG_SCALE_STEP)
    color_levels, color_labels = codebook(sh[:, 0], _COLOR_STEP)
    opacity = levels(sigmoid(logits) * 255, 255)
    images = {
        "means_l": gaussian_image(order, fixed & 255),
        "means_u": gaussian_image(order, fixed >> 8),
        "scales": gaussian_image(order, scale_labels),
        "quats": gaussian_image(order, *_quat_bytes(quats)),
        "sh0": gaussian_image(order, color_labels, opacity),
    }
    meta = {
        "version": 2,
        "asset": {"generator": "Fewview"},
        "count": len(means),
        **({"model": "antialiased"} if splat.antialiased else {}),
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": _json_numbers(scale_levels), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": _json_numbers(color_levels), "files": ["sh0.webp"]},
    }
    if sh.shape[1] > 1:
        meta["shN"], images["shN_centroids"], images["shN_labels"] = _palette_images(gaussians, sh, order)
    files = {f"{name}.webp": encode_image(image) for name, image in images.items()}
    return EncodedScene(files, json.dumps(meta, allow_nan=False, separators=(",", ":")).encode(), order, notes)


def _clamped(
    means: np.ndarray, log_scales: np.ndarray, sh: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """The three within what the format holds, and sentences about those that were beyond it."""
    far, wild = np.abs(means) > _MAX_COORDINATE, np.abs(sh).reshape(len(sh), -1) > _MAX_COEFFICIENT
    odd = (log_scales < _MIN_LOG_SCALE) | (log_scales > _MAX_LOG_SCALE)
    notes = (
        *clamped_note("Positions", far, f"-{_MAX_COORDINATE:g} to {_MAX_COORDINATE:g}"),
        *clamped_note("Sizes", odd, f"e^{_MIN_LOG_SCALE:g} to e^{_MAX_LOG_SCALE:g}"),
        *clamped_note("Colours", wild, f"-{_MAX_COEFFICIENT:g} to {_MAX_COEFFICIENT:g}"),
    )
    return (
        means.clip(-_MAX_COORDINATE, _MAX_COORDINATE),
        log_scales.clip(_MIN_LOG_SCALE, _MAX_LOG_SCALE),
        sh.clip(-_MAX_COEFFICIENT, _MAX_COEFFICIENT),
        notes,
    )


def palette_entries(count: int) -> int:
    """Number of view-dependent colours that `count` Gaussians share."""
    return min(count, MAX_ENTRIES, max(_MIN_ENTRIES, 2 ** int(math.log2(max(1, count // _GAUSSIANS_A_COLOR)))))


def _palette_images(gaussians: Gaussians, sh: np.ndarray, order: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray]:
    """(the meta.json entry, the palette as an image, the labels as an image)."""
    n, coefficients = len(sh), sh.shape[1] - 1
    rest = np.ascontiguousarray(sh[:, 1:]).reshape(n, -1)
    centers, labels = palette(torch.from_numpy(rest), _visibility(gaussians), palette_entries(n))
    entries, index = centers.numpy(), labels.numpy()
    # Finer steps than the palette's own error could not be seen, and would cost bytes.
    error = float(np.sqrt(np.square(entries[index] - rest).mean(dtype=np.float64)))
    table, cells = codebook(entries, max(error, 1e-9))
    rows = -(-len(entries) // ENTRIES_A_ROW)
    image = np.zeros((rows * ENTRIES_A_ROW, coefficients, 4), np.uint8)
    image[: len(entries), :, :3] = cells.reshape(-1, coefficients, 3)
    image[..., 3] = 255
    meta = {
        "count": len(entries),
        "bands": COEFFICIENTS.index(coefficients),
        "codebook": _json_numbers(table),
        "files": ["shN_centroids.webp", "shN_labels.webp"],
    }
    label_image = gaussian_image(order, np.stack([index & 255, index >> 8, np.zeros(n, np.int64)], axis=1))
    return meta, image.reshape(rows, -1, 4), label_image


def _visibility(gaussians: Gaussians) -> torch.Tensor:
    """Weight [N] > 0 of each Gaussian's colour: the square root of its opacity times the area of its broad side."""
    broad = gaussians.log_scales.detach().cpu().float().clamp(-20, 20).sort(dim=1).values[:, 1:].sum(1)
    log_weight = (
        broad + torch.nn.functional.logsigmoid(gaussians.opacity_logits.detach().cpu().float().clamp(-20, 20))
    ) / 2
    return (log_weight - log_weight.max()).clamp_min(-20).exp()


def gaussian_image(order: np.ndarray, colors: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    """uint8 [H, W, 4] of values [N, 3] and [N] in that order; both sides are multiples of 4, as the format's writer
    has them."""
    n = len(order)
    width = math.ceil(math.sqrt(n) / 4) * 4
    height = math.ceil(n / width / 4) * 4
    image = np.zeros((height * width, 4), np.uint8)
    image[:, 3] = 255
    image[:n, :3] = colors[order]
    if alpha is not None:
        image[:n, 3] = alpha[order]
    return image.reshape(height, width, 4)


def _quat_bytes(quats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [N, 3], [N]) of quaternions [N, 4] wxyz; q and -q are the same rotation, so the largest is positive."""
    unit = unit_quats(quats)
    largest = np.abs(unit).argmax(1)
    sign = np.where(np.take_along_axis(unit, largest[:, None], 1) < 0, -1, 1)
    others = np.take_along_axis(unit * sign, _OTHERS[largest], 1)
    return levels((others * math.sqrt(2) + 1) * (255 / 2), 255), 252 + largest


def _quats(pixels: np.ndarray) -> np.ndarray:
    """float32 [N, 4] wxyz; the identity where the alpha byte names no component."""
    others = (pixels[:, :3] / 255 * 2 - 1) / math.sqrt(2)
    largest = np.sqrt(np.maximum(0, 1 - (others**2).sum(1)))
    index = pixels[:, 3].astype(np.int64) - 252
    quats = np.empty((len(pixels), 4), np.float32)
    np.put_along_axis(quats, _OTHERS[index.clip(0)], others.astype(np.float32), 1)
    np.put_along_axis(quats, index.clip(0)[:, None], largest[:, None].astype(np.float32), 1)
    quats[index < 0] = (1, 0, 0, 0)
    return quats


def _pixels(files: SogFiles, meta: SogMeta, kind: str, notes: list[str]) -> np.ndarray:
    """uint8 [count, 4] of the image that has a pixel for each Gaussian."""
    file = meta.files[kind]
    image, lossy = decode_image(files.name(file), files.read(file), meta.max_pixels)
    height, width = image.shape[:2]
    meta.require_pixels(files.name(file), width, height)
    if lossy:
        notes.append(f"{files.name(file)} was stored with losses, so what it holds is wrong by an unknown amount.")
    return image.reshape(-1, 4)[: meta.count]


def _rest(files: SogFiles, meta: SogMeta, notes: list[str]) -> np.ndarray:
    """Spherical harmonics beyond the constant, float32 [count, K - 1, 3]; zero where a label names no entry."""
    if "shN_labels" not in meta.files:
        return np.zeros((meta.count, 0, 3), np.float32)
    file = meta.files["shN_centroids"]
    image, lossy = decode_image(files.name(file), files.read(file), meta.max_palette_pixels)
    if lossy:
        notes.append(f"{files.name(file)} was stored with losses, so the colours are wrong by an unknown amount.")
    coefficients = meta.palette_coefficients(files.name(file), image.shape[1])
    entries = meta.shn[image[..., :3]].reshape(-1, coefficients, 3)[: meta.entries]
    entries = np.concatenate([entries, np.zeros((1, coefficients, 3), np.float32)])
    pixels = _pixels(files, meta, "shN_labels", notes)
    labels = pixels[:, 0].astype(np.int64) | pixels[:, 1].astype(np.int64) << 8
    return entries[labels.clip(max=len(entries) - 1)]


def _json_numbers(values: np.ndarray) -> list[float]:
    """Seven digits: a float32 has no more, and each is a byte."""
    return [float(f"{value:.7g}") for value in values]
