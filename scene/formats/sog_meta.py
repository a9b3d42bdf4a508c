"""The `meta.json` of a SOG scene, both versions, as the tables that its images are decoded with.

Version 2 has codebooks. Version 1, which has no `version`, has bounds between which bytes are interpolated, and
stores the logit of the opacity. Source: github.com/playcanvas/splat-transform, `read-sog.ts`, `read-sog-v1.ts`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BadInputError
from ..files import parse_json
from .packing import BYTES, FINITE_LOGIT, byte_table
from .sog_files import MAX_META_BYTES, MAX_PIXELS, META, SogFiles

COEFFICIENTS = (0, 3, 8, 15)  # beyond the constant, by degree
ENTRIES_A_ROW = 64
MAX_ENTRIES = 65536  # labels have 16 bits
# A real scene takes 10 and more bytes a Gaussian; one that claims 64 Gaussians a byte is a bomb.
_MAX_GAUSSIANS_A_BYTE = 64
_FREE_GAUSSIANS = 65536
_FOLDED_LIMIT = 88.0  # e^88 is near the end of float32
_VALUE_LIMIT = 1e30
_IMAGES = {"means": ("means_l", "means_u"), "scales": ("scales",), "quats": ("quats",), "sh0": ("sh0",)}


@dataclass(frozen=True)
class SogMeta:
    count: int
    means_low: np.ndarray  # [3] bounds of sign(x) ln(1 + |x|)
    means_high: np.ndarray
    scales: np.ndarray  # [3, 256] log-scale of each byte, for each axis
    sh0: np.ndarray  # [3, 256] constant coefficient of each byte, for each channel
    opacity: np.ndarray  # [256] logit of each byte
    files: dict[str, str]  # name of the file of each image
    shn: np.ndarray = field(default_factory=lambda: np.zeros(256, np.float32))  # [256] coefficient of each byte
    entries: int = 0  # of the palette
    bands: int | None = None  # degree of the palette, None where only its width tells
    antialiased: bool = False
    notes: tuple[str, ...] = ()

    @property
    def max_pixels(self) -> int:
        """Of an image with a pixel for each Gaussian: some writers round both sides up to powers of two."""
        return min(MAX_PIXELS, 4 * self.count + 4096)

    @property
    def max_palette_pixels(self) -> int:
        return MAX_ENTRIES * COEFFICIENTS[-1]

    def require_pixels(self, name: str, width: int, height: int) -> None:
        if width * height < self.count:
            raise BadInputError(
                f"{name} has {width} x {height} pixels, too few for {self.count} Gaussians; the file is damaged."
            )

    def palette_coefficients(self, name: str, width: int) -> int:
        """Coefficients of a palette entry, from the width of its image. Raises BadInputError where they disagree."""
        found = {ENTRIES_A_ROW * c: c for c in COEFFICIENTS[1:]}.get(width)
        if found is None or (self.bands is not None and COEFFICIENTS[self.bands] != found):
            wanted = [ENTRIES_A_ROW * c for c in COEFFICIENTS[1:]]
            expected = wanted if self.bands is None else wanted[self.bands - 1]
            raise BadInputError(f"{name} is {width} pixels wide; {expected} is expected for its palette of colours.")
        return found


def read_meta(files: SogFiles) -> SogMeta:
    """The checked meta.json of a scene. Raises BadInputError that names the entry that is wrong."""
    where = files.name(META) if files.bundled else str(files.where)
    table = parse_json(files.read(META, MAX_META_BYTES), where)
    if not isinstance(table, dict):
        raise BadInputError(f"{where} should hold a JSON object, found {type(table).__name__}.")
    version = table.get("version", 1)
    if version not in (1, 2) or isinstance(version, bool):
        raise BadInputError(f"{where} is of SOG version {str(version)[:20]}; versions 1 and 2 can be read.")
    parts = {name: _object(where, table, name) for name in _IMAGES}
    images = {
        image: file
        for name, wanted in _IMAGES.items()
        for image, file in zip(wanted, _names(where, name, parts[name], len(wanted)), strict=True)
    }
    shn = _object(where, table, "shN") if table.get("shN") is not None else None
    if shn is not None and (version == 1 or shn.get("bands") != 0):
        centroids, labels = _names(where, "shN", shn, 2)
        images |= {"shN_centroids": centroids, "shN_labels": labels}
    else:
        shn = None
    low, high = (_numbers(where, f"means.{end}", parts["means"].get(end), 3, _FOLDED_LIMIT) for end in ("mins", "maxs"))
    common = {"means_low": low, "means_high": high, "files": images}
    if version == 1:
        return _version_1(where, files, parts, shn, common)
    return _version_2(where, files, table, parts, shn, common)


def _version_2(
    where: str, files: SogFiles, table: dict, parts: dict, shn: dict | None, common: dict[str, Any]
) -> SogMeta:
    model = table.get("model")
    notes: tuple[str, ...] = ()
    if model not in (None, "default", "antialiased"):
        notes = (f"{where}: the model {str(model)[:40]!r} is read as ordinary Gaussians.",)
    palette: dict[str, Any] = {}
    if shn is not None:
        entries, bands = (_whole(where, f"shN.{name}", shn.get(name)) for name in ("count", "bands"))
        if not 1 <= bands <= 3:
            raise BadInputError(f"{where}: 'shN.bands' is {bands}; 0 to 3 is expected.")
        if entries > MAX_ENTRIES:
            raise BadInputError(f"{where}: 'shN.count' is {entries}; at most {MAX_ENTRIES} is expected.")
        palette = {"shn": _codebook(where, "shN", shn), "entries": entries, "bands": bands}
    return SogMeta(
        _count(where, "count", table.get("count"), files, common["files"]),
        scales=np.tile(_codebook(where, "scales", parts["scales"]), (3, 1)),
        sh0=np.tile(_codebook(where, "sh0", parts["sh0"]), (3, 1)),
        opacity=FINITE_LOGIT,
        antialiased=model == "antialiased",
        notes=notes,
        **palette,
        **common,
    )


def _version_1(where: str, files: SogFiles, parts: dict, shn: dict | None, common: dict[str, Any]) -> SogMeta:
    shape = parts["means"].get("shape")
    count = shape[0] if isinstance(shape, list) and shape else None
    scales = _lerp(where, "scales", parts["scales"], 3)
    sh0 = _lerp(where, "sh0", parts["sh0"], 4)
    palette: dict[str, Any] = {}
    if shn is not None:
        bounds = {end: [shn.get(end)] for end in ("mins", "maxs")}
        palette = {"shn": _lerp(where, "shN", bounds, 1)[0], "entries": MAX_ENTRIES}
    return SogMeta(
        _count(where, "means.shape", count, files, common["files"]),
        scales=scales,
        sh0=sh0[:3],
        opacity=sh0[3],
        **palette,
        **common,
    )


def _count(where: str, what: str, value: Any, files: SogFiles, images: dict[str, str]) -> int:
    count = _whole(where, what, value)
    total = files.total_bytes(list(images.values()))
    if not 1 <= count <= min(MAX_PIXELS, _FREE_GAUSSIANS + _MAX_GAUSSIANS_A_BYTE * total):
        raise BadInputError(
            f"{where}: '{what}' promises {count} Gaussians, but its images have {total} bytes together; the file is "
            "damaged, empty or too large."
        )
    return count


def _object(where: str, table: dict, name: str) -> dict:
    value = table.get(name)
    if not isinstance(value, dict):
        raise BadInputError(f"{where}: an object '{name}' is expected, so this is no SOG scene.")
    return value


def _names(where: str, name: str, part: dict, count: int) -> list[str]:
    files = part.get("files")
    if not isinstance(files, list) or len(files) < count or not all(isinstance(file, str) for file in files):
        raise BadInputError(f"{where}: '{name}.files' should be a list of {count} file names.")
    return files[:count]


def _whole(where: str, what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadInputError(f"{where}: '{what}' should be a whole number, found {str(value)[:40]}.")
    return value


def _numbers(where: str, what: str, value: Any, count: int, limit: float = _VALUE_LIMIT) -> np.ndarray:
    """float64 [count]"""
    if not isinstance(value, list) or len(value) != count or not all(map(_is_number, value)):
        raise BadInputError(f"{where}: '{what}' should be a list of {count} numbers, found {str(value)[:60]}.")
    if max(map(abs, value)) > limit:
        raise BadInputError(f"{where}: '{what}' has a number beyond {limit:g}; the file is damaged.")
    return np.array(value, np.float64)


def _codebook(where: str, name: str, part: dict) -> np.ndarray:
    """float32 [256]; bytes without a level, which a good file does not have, stand for 0."""
    value = part.get("codebook")
    if isinstance(value, list) and len(value) == 256 and value[0] is None and all(map(_is_number, value[1:])):
        # Old writers lost the first level; this is how PlayCanvas's own reader guesses it.
        value = [value[1] + (value[1] - value[255]) / 255, *value[1:]]
    if not isinstance(value, list) or not 1 <= len(value) <= 256:
        raise BadInputError(f"{where}: '{name}.codebook' should be a list of up to 256 numbers.")
    table = np.zeros(256, np.float32)
    table[: len(value)] = _numbers(where, f"{name}.codebook", value, len(value))
    return table


def _lerp(where: str, name: str, part: dict, count: int) -> np.ndarray:
    """float32 [count, 256]: bytes between the bounds of each channel."""
    low, high = (_numbers(where, f"{name}.{end}", part.get(end), count) for end in ("mins", "maxs"))
    return byte_table(low[:, None] + (high - low)[:, None] * (BYTES / 255))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
