"""Depth and confidence of a run's training views, in one file of the run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...scene.cameras import Cameras
from .depth_maps import MAX_CONFIDENCE, DepthMap, Stereo
from .evidence_file import PLACED, opened_evidence, write_evidence


def save_stereo(path: Path, stereo: Stereo, names: list[str], key: str = PLACED) -> None:
    """Write the maps under the names of their views; the cameras are the run's. `key` says what they were made from."""
    tensors = {}
    for name, depth_map in zip(names, stereo.maps, strict=True):
        tensors[f"depth/{name}"] = depth_map.depth
        tensors[f"confidence/{name}"] = depth_map.confidence
    write_evidence(path, tensors, key)


def load_stereo(path: Path, cameras: Cameras, names: list[str]) -> Stereo:
    """Read what `save_stereo` wrote; `cameras` [V] of the views, of any size with the maps' aspect.

    Raises BadInputError when the file is damaged or belongs to other views.
    """
    maps = []
    with opened_evidence(path, "computes the depth again") as file:
        for name, width, height in zip(names, cameras.width.tolist(), cameras.height.tolist(), strict=True):
            depth, confidence = (file.get_tensor(f"{what}/{name}") for what in ("depth", "confidence"))
            _check(depth, confidence, width, height)
            maps.append(DepthMap(depth.clone(), confidence.clone()))
    sizes = torch.tensor([m.depth.shape for m in maps])
    return Stereo(cameras.resized(sizes[:, 1], sizes[:, 0]), tuple(maps))


def _check(depth: Tensor, confidence: Tensor, width: int, height: int) -> None:
    """Raises ValueError for maps that are none of a photograph of width x height pixels."""
    if depth.dtype != torch.float32 or confidence.dtype != torch.float32:
        raise ValueError(f"float32 is expected, found {depth.dtype} and {confidence.dtype}")
    check_size(depth, width, height)
    usable = depth.isfinite().all() and (depth > 0).all() and (confidence >= 1).all()
    if not usable or (confidence > MAX_CONFIDENCE).any():
        raise ValueError(f"depth above 0 and confidence from 1 to {MAX_CONFIDENCE:g} are expected")


def check_size(depth: Tensor, width: int, height: int) -> None:
    """Raises ValueError for anything but a map [H, W] with the aspect of a photograph of width x height pixels."""
    if depth.ndim != 2 or depth.numel() == 0:
        raise ValueError(f"depth [H, W] is expected, found {list(depth.shape)}")
    rows, columns = depth.shape
    # More than rounding the sides of either to pixels can do.
    if abs(columns * height - rows * width) > width + height + columns + rows:
        raise ValueError(f"a map of {columns} x {rows} does not fit a photograph of {width} x {height}")
