"""`PngCompression`: a trainer's Gaussians as a folder of pictures, by gsplat's name.

| file                      | holds                                                                               |
|---------------------------|-------------------------------------------------------------------------------------|
| `means_l.png`, `_u.png`   | low and high byte of 16 bits between the bounds of sign(x) ln(1 + |x|)              |
| `scales`, `quats`,        | 8 bits between the bounds of each channel                                           |
| `opacities`, `sh0` `.png` |                                                                                     |
| `shN.npz`                 | `centroids` uint8 [k, D], 6 bits between their bounds, and `labels` uint16 [N]      |
| `NAME.npz`                | `arr`, any other parameter as it is                                                 |
| `meta.json`               | for each: `shape`, `dtype`, `mins` and `maxs` of a picture, `quantization` of `shN` |

A pixel is a Gaussian, in squares of floor(sqrt(N)) a side. Files of gsplat 1.5.3, both ways.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..scene.errors import BadInputError
from ..scene.files import make_folder, read_json, write_bytes, write_json
from ..scene.formats.compressed_ply import morton_order
from ..scene.formats.palette import palette
from ..scene.images import load_pixels
from ..scene.png import write_png
from .log_values import inverse_log_transform, log_transform

META = "meta.json"
TWO_BYTES, ONE_BYTE, PALETTE = ("means",), ("scales", "quats", "opacities", "sh0"), ("shN",)
CLUSTERS = 65_536  # as many as 16 bits of a label tell apart
PALETTE_BITS = 6
MAX_VALUES = 1 << 28  # of one parameter, so that a file of a few bytes cannot ask for all memory


@dataclass
class PngCompression:
    """Writes and reads parameters before activation: means, scales, quats, opacities, sh0, shN, and any others.

    Fields of gsplat 1.5.3. Where the number of Gaussians is not a square, those of least opacity are left out. With
    `use_sort` they lie in Z-order of their positions, which needs no package; gsplat sorts by PLAS, which makes
    smaller pictures. Clusters of `shN` are by Euclidean distances, gsplat's by Manhattan ones.
    """

    use_sort: bool = True
    verbose: bool = True

    @torch.no_grad()
    def compress(self, compress_dir: str, splats: Mapping[str, Tensor]) -> None:
        """Write the files; `splats` stays as it is, which gsplat changes. Raises BadInputError where it cannot be."""
        for name in ("means", "opacities", "quats"):
            if name not in splats:
                raise BadInputError(f"The parameters have no '{name}'; there are: {', '.join(splats) or 'none'}.")
        values = {name: tensor.detach().cpu() for name, tensor in splats.items()}
        side = math.isqrt(len(values["means"]))
        for name, tensor in values.items():
            if side == 0 or len(tensor) != len(values["means"]):
                raise BadInputError(f"{name}: expected one row or more, as many as means; found {tuple(tensor.shape)}.")
            if not bool(tensor.isfinite().all()):
                raise BadInputError(f"{name} has values that are not numbers; leave those Gaussians out.")
        left_out = len(values["means"]) - side * side
        if left_out:
            kept = values["opacities"].reshape(-1).argsort(descending=True, stable=True)[: side * side]
            values = {name: tensor[kept] for name, tensor in values.items()}
            if self.verbose:
                print(f"{left_out} Gaussians of the least opacity are left out, so that a square holds the rest.")
        values["means"] = log_transform(values["means"])
        values["quats"] = normalize(values["quats"], dim=-1)
        if self.use_sort:
            order = torch.from_numpy(morton_order(values["means"].numpy()))
            values = {name: tensor[order] for name, tensor in values.items()}
        folder = Path(compress_dir)
        make_folder(folder)
        write_json(folder / META, {name: _written(folder, name, tensor, side) for name, tensor in values.items()})

    def decompress(self, compress_dir: str) -> dict[str, Tensor]:
        """The parameters in the order of the files, quaternions of length 1. Raises BadInputError for damaged files."""
        folder = Path(compress_dir)
        table = read_json(folder / META)
        if not isinstance(table, dict) or not isinstance(table.get("means"), dict):
            raise BadInputError(f"{folder / META} does not list the parameters of a splat; means is expected.")
        values = {name: _read(folder, name, meta) for name, meta in table.items()}
        values["means"] = inverse_log_transform(values["means"])
        return values


def _written(folder: Path, name: str, tensor: Tensor, side: int) -> dict[str, Any]:
    """Writes one parameter and gives its entry of `meta.json`."""
    meta: dict[str, Any] = {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
    if name in TWO_BYTES + ONE_BYTE:
        grid = tensor.double().reshape(side * side, -1)
        low, high = grid.amin(0), grid.amax(0)
        most = 65535 if name in TWO_BYTES else 255
        fixed = ((grid - low) / torch.where(high > low, high - low, 1) * most).round().to(torch.int32).numpy()
        _write_grid(folder, name, fixed.reshape(side, side, -1))
        return meta | {"mins": low.tolist(), "maxs": high.tolist()}
    if name in PALETTE and tensor.numel():
        rows = tensor.reshape(len(tensor), -1).float()
        centers, label_of = palette(rows, torch.ones(len(rows)), CLUSTERS)
        least, largest = float(centers.min()), float(centers.max())
        levels = ((centers.double() - least) / ((largest - least) or 1) * (2**PALETTE_BITS - 1)).round().numpy()
        centroids, labels = levels.astype(np.uint8), label_of.numpy().astype(np.uint16)
        _save(folder / f"{name}.npz", centroids=centroids, labels=labels)
        return meta | {"mins": least, "maxs": largest, "quantization": PALETTE_BITS}
    _save(folder / f"{name}.npz", arr=tensor.numpy())
    return meta


def _write_grid(folder: Path, name: str, fixed: np.ndarray) -> None:
    def save(file: str, pixels: np.ndarray) -> None:
        pixels = pixels.astype(np.uint8)
        write_png(folder / file, pixels[..., 0] if pixels.shape[-1] == 1 else pixels)

    if name in TWO_BYTES:
        save(f"{name}_l.png", fixed & 255)
        save(f"{name}_u.png", fixed >> 8)
    else:
        save(f"{name}.png", fixed)


def _save(path: Path, **arrays: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def _read(folder: Path, name: str, meta: Any) -> Tensor:
    """One parameter, by its entry of `meta.json`."""
    where = f"{folder / META}, {name}"
    shape, dtype = _shape_and_type(where, meta)
    if Path(name).name != name:
        raise BadInputError(f"{where} is no name of a file in its folder.")
    count = math.prod(shape)
    if count == 0:
        return torch.zeros(shape, dtype=dtype)
    if name in TWO_BYTES + ONE_BYTE:
        return _grid(folder, name, where, meta, shape).reshape(shape).to(dtype)
    if name in PALETTE:
        width = count // shape[0]
        arrays = _arrays(folder / f"{name}.npz", {"labels": shape[0], "centroids": CLUSTERS * width})
        labels, centers = arrays["labels"].reshape(-1).astype(np.int64), arrays["centroids"].astype(np.float64)
        if labels.size != shape[0] or centers.ndim != 2 or centers.shape[1] != width or labels.max() >= len(centers):
            raise BadInputError(f"{where}: labels {labels.shape} and centroids {centers.shape} do not make {shape}.")
        bits = _numbers(where, meta, "quantization", 1)[0]
        low, high = (_numbers(where, meta, key, 1)[0] for key in ("mins", "maxs"))
        return torch.from_numpy((centers / (2**bits - 1) * (high - low) + low)[labels]).reshape(shape).to(dtype)
    values = _arrays(folder / f"{name}.npz", {"arr": count})["arr"]
    if values.size != count:
        raise BadInputError(f"{where}: {values.size} values do not make the shape {shape}.")
    return torch.from_numpy(values).reshape(shape).to(dtype)


def _grid(folder: Path, name: str, where: str, meta: Any, shape: tuple[int, ...]) -> Tensor:
    """Values [N, channels] of pictures of whole numbers."""
    side, channels = math.isqrt(shape[0]), math.prod(shape[1:])
    if side * side != shape[0]:
        raise BadInputError(f"{where}: {shape[0]} Gaussians do not fill a square picture.")
    files = [f"{name}_l.png", f"{name}_u.png"] if name in TWO_BYTES else [f"{name}.png"]
    fixed = np.zeros((shape[0], channels))
    for place, file in enumerate(files):
        pixels = load_pixels(folder / file, as_stored=True)[..., :channels]
        if pixels.size != fixed.size or pixels.shape[:2] != (side, side):
            raise BadInputError(f"{folder / file} is {pixels.shape}; {side} x {side} x {channels} is expected.")
        fixed += pixels.reshape(shape[0], channels) * 256.0**place
    low, high = (np.array(_numbers(where, meta, key, channels)) for key in ("mins", "maxs"))
    return torch.from_numpy(fixed / (256 ** len(files) - 1) * (high - low) + low)


def _arrays(path: Path, most: dict[str, int]) -> dict[str, np.ndarray]:
    """Arrays of an NPZ file by name, of at most so many values each: a short file may unpack to any length."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name, count in most.items():
                if archive.getinfo(f"{name}.npy").file_size > 8 * count + 4096:
                    raise BadInputError(f"{path}: {name} is larger than {count:,} values; the file is damaged.")
        with np.load(path, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in most}
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing; the folder is not whole.") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInputError(f"{path} cannot be read as {', '.join(most)} of an NPZ file: {error}.") from None


def _shape_and_type(where: str, meta: Any) -> tuple[tuple[int, ...], torch.dtype]:
    shape = meta.get("shape") if isinstance(meta, dict) else None
    if not isinstance(shape, list) or not shape or not all(type(n) is int and n >= 0 for n in shape):
        raise BadInputError(f"{where}: a list of sizes is expected as shape, found {shape!r}.")
    if math.prod(shape) > MAX_VALUES:
        raise BadInputError(f"{where}: {math.prod(shape):,} values; at most {MAX_VALUES:,} are read.")
    dtype = getattr(torch, str(meta.get("dtype")), None)
    if not isinstance(dtype, torch.dtype) or dtype.is_complex:
        raise BadInputError(f"{where}: dtype {meta.get('dtype')!r} is not known; float32 is usual.")
    return tuple(shape), dtype


def _numbers(where: str, meta: Any, key: str, count: int) -> list[float]:
    value = meta.get(key)
    values = value if isinstance(value, list) else [value]
    if len(values) != count or not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        raise BadInputError(f"{where}: {count} numbers are expected as {key}, found {str(value)[:60]}.")
    return [float(v) for v in values]
