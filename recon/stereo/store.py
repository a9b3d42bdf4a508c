"""Depth and confidence of a run's training views, in one file of the run."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import torch

from ...scene.cameras import Cameras
from ...scene.errors import BadInputError
from ...scene.files import write_bytes
from .contract import MAX_CONFIDENCE, DepthMap, Stereo


def save_stereo(path: Path, stereo: Stereo, names: list[str]) -> None:
    """Write the maps under the names of their views; the cameras are the run's."""
    tensors = {}
    for name, depth_map in zip(names, stereo.maps, strict=True):
        tensors[f"depth/{name}"] = depth_map.depth.contiguous()
        tensors[f"confidence/{name}"] = depth_map.confidence.contiguous()
    write_bytes(path, safetensors.torch.save(tensors))


def load_stereo(path: Path, cameras: Cameras, names: list[str]) -> Stereo:
    """Read what `save_stereo` wrote; `cameras` [V] of the views, of any size with the maps' aspect.

    Raises BadInputError when the file is damaged or belongs to other views.
    """
    maps = []
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            for name in names:
                depth, confidence = (file.get_tensor(f"{what}/{name}") for what in ("depth", "confidence"))
                usable = depth.isfinite().all() and (depth > 0).all() and (confidence >= 1).all()
                if not usable or (confidence > MAX_CONFIDENCE).any():
                    raise ValueError(f"depth above 0 and confidence from 1 to {MAX_CONFIDENCE:g} are expected")
                maps.append(DepthMap(depth.clone(), confidence.clone()))
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise BadInputError(
            f"{path} cannot be used: {error}. Delete it, and --resume computes the depth again."
        ) from error
    sizes = torch.tensor([m.depth.shape for m in maps])
    return Stereo(cameras.resized(sizes[:, 1], sizes[:, 0]), tuple(maps))
