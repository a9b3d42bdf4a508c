"""`GroundedScan`: a scan with the box that a sentence was answered with, and what a network thought on the way.

One file, `grounded.safetensors`, beside `box.json` of `fewview detect ground`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .boxes import Boxes
from .errors import BadInputError
from .files import parse_json, write_bytes
from .json_field import JsonField
from .point_cloud import PointCloud

GROUNDED_FILE = "grounded.safetensors"
MAX_FIELDS = 100
_ABOUT = "grounded_scan"  # in the file's metadata
_FIELD_KINDS = {"centers": 3, "values": 0, "kept": 0}  # numbers in a row, 0 for one without an axis


@dataclass(frozen=True)
class VoxelField:
    """Probabilities of voxels for a sentence, and those of them that were kept."""

    name: str  # for people, such as "Kept about any object"
    edge_m: float
    centers: Tensor  # [N, 3] float32 metres
    values: Tensor  # [N] float32 in [0, 1]
    kept: Tensor  # [N] bool

    def __len__(self) -> int:
        return len(self.centers)


@dataclass(frozen=True)
class GroundedScan:
    """Metres, z up."""

    sentence: str
    points: PointCloud
    boxes: Boxes  # [1] with its score, or [0]
    fields: tuple[VoxelField, ...]  # from coarse to fine


def write_grounded_scan(path: Path, scan: GroundedScan) -> None:
    """Write a file whose reader is `read_grounded_scan`; boxes are axis-aligned."""
    tensors = {
        "points": scan.points.xyz.float(),
        "colors": scan.points.rgb,
        "box.centers": scan.boxes.centers.float(),
        "box.sizes": scan.boxes.sizes.float(),
        "box.scores": torch.zeros(0) if scan.boxes.scores is None else scan.boxes.scores.float(),
    }
    for i, field in enumerate(scan.fields):
        tensors |= {f"field.{i}.{name}": getattr(field, name) for name in _FIELD_KINDS}
    about = {
        "sentence": scan.sentence,
        "fields": [{"name": field.name, "edge_m": field.edge_m} for field in scan.fields],
    }
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(plain, {_ABOUT: json.dumps(about)}))


def read_grounded_scan(path: Path) -> GroundedScan:
    """Raises BadInputError for a file that is damaged or another one."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about_text = (file.metadata() or {}).get(_ABOUT)
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # no mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise BadInputError(f"{path} cannot be read: {error}. Ask for the box again.") from error
    if about_text is None:
        raise BadInputError(f"{path} is no answer of `fewview detect ground`.")
    about = JsonField(parse_json(about_text.encode(), str(path)), str(path), "a table about a scan and a sentence")
    try:
        names = ("object",)
        centers, sizes, scores = (tensors[f"box.{name}"] for name in ("centers", "sizes", "scores"))
        zeros = torch.zeros(len(centers))
        boxes = Boxes.upright(centers, sizes, zeros, zeros.long(), names, scores=scores)
        cloud = PointCloud(tensors["points"], tensors["colors"], metric=True)
        rows = about["fields"].items(MAX_FIELDS)
        fields = tuple(_field(i, row, tensors) for i, row in enumerate(rows))
    except (KeyError, ValueError) as error:
        raise BadInputError(f"{path} is damaged ({error}); ask for the box again.") from error
    return GroundedScan(about["sentence"].text(), cloud, boxes, fields)


def _field(number: int, about: JsonField, tensors: dict[str, Tensor]) -> VoxelField:
    parts: dict[str, Any] = {}
    count = len(tensors[f"field.{number}.centers"])
    for name, width in _FIELD_KINDS.items():
        tensor = tensors[f"field.{number}.{name}"]
        if tuple(tensor.shape) != ((count, width) if width else (count,)):
            raise ValueError(f"field.{number}.{name} has the shape {tuple(tensor.shape)}")
        parts[name] = tensor.bool() if name == "kept" else tensor.float()
    return VoxelField(about["name"].text(), about["edge_m"].number(), **parts)
