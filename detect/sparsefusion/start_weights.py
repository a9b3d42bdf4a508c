"""Weights that training starts from, part by part: our own runs, released checkpoints, and files of single parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...learn.foreign_weights import State, check_tensor, read_weights
from ...learn.network_files import WEIGHTS_FILE
from ...scene.errors import BadInputError
from .model import SparseFusionModel
from .released_weights import converted_tensors, released_name
from .weight_files import load_model, read_config

# Modules that are taken over whole or not at all, and their names for people.
PARTS = {
    "encoder": "LiDAR encoder",
    "bev_backbone": "BEV backbone",
    "bev_neck": "BEV neck",
    "lidar_branch": "LiDAR decoder",
    "lidar_heatmap": "LiDAR heatmap",
    "semantic_transfer": "semantic transfer",
    "image_trunk.backbone": "image backbone",
    "image_trunk.neck": "image pyramid",
    "geometric_transfer": "geometric transfer",
    "camera_branch": "camera decoder",
    "view_transform": "view transform",
    "fusion": "fusion",
}
# The beginnings of released names in files of parts: MMDetection's detectors (Mask R-CNN on nuImages or COCO) say
# backbone and neck, torchvision's classifiers begin with the layers, and TransFusion-L has one decoder only.
_ELSEWHERE = {
    "img_backbone.": ("backbone.", ""),
    "img_neck.": ("neck.",),
    "pts_bbox_head.point_transformer.decoder.0.": ("pts_bbox_head.decoder.0.",),
    "pts_bbox_head.point_transformer.prediction_heads.": ("pts_bbox_head.prediction_heads.0.",),
}
_COUNTER = ".num_batches_tracked"  # of batch norms; files from before PyTorch 0.4.1 have none


@dataclass(frozen=True)
class Started:
    """A file's weights in a network."""

    path: Path
    names: frozenset[str]  # of the network's tensors, those that the file gave
    parts: dict[str, int]  # tensors of each part, by its name for people
    left: dict[str, int]  # tensors of the file that have no place in the network, by the beginning of their names

    def line(self) -> str:
        given = ", ".join(f"{part} ({count})" for part, count in self.parts.items())
        left = ", ".join(f"{name} ({count})" for name, count in self.left.items())
        return f"Starting from {self.path}: {given} tensors" + (f"; left aside: {left}." if left else ".")


def start_from(model: SparseFusionModel, path: Path) -> Started:
    """Take over the parts of `model` that a file or a run folder holds, and leave the others as they are.

    The file may be of our own, a released SparseFusion checkpoint, whole or initial, a TransFusion-L, a Mask R-CNN of
    MMDetection, or torchvision's ResNet-50. Raises BadInputError when it has no part of the network, a part not
    whole, or tensors of other shapes.
    """
    file = path / WEIGHTS_FILE if path.is_dir() else path
    foreign = read_config(file) is None
    if not foreign:
        state = load_model(file).state_dict()
        names = {name: name for name in model.state_dict()}
    else:
        state, _ = read_weights(file)
        names = {name: _name_in(state, released_name(name)) for name in model.state_dict()}
    given: State = {}
    parts = {}
    for prefix, label in PARTS.items():
        part = {own: their for own, their in names.items() if own.startswith(prefix + ".")}
        if held := _whole_part(part, state, label, path):
            given |= held
            parts[label] = len(held)
    if not parts:
        raise BadInputError(
            f"{path} has no part in common with the network that is to be trained: it begins with "
            f"'{min(state, default='')}'. Give SparseFusion, TransFusion-L, Mask R-CNN or ResNet-50 weights that fit "
            "the --preset."
        )
    if foreign:
        given = converted_tensors(given, model, path)
    own = model.state_dict()
    for name, tensor in given.items():
        check_tensor(tensor, own[name], names[name], path, "weights for this --preset")
    model.load_state_dict(given, strict=False)
    used = {names[name] for name in given}
    left = Counter(_beginning(name) for name in state if name not in used)
    return Started(path, frozenset(given), parts, dict(left))


def frozen_at_random(model: SparseFusionModel, given: Collection[str]) -> dict[str, int]:
    """Numbers that training would keep although no file gave them, by the name of their part."""
    found: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and name not in given:
            label = next(label for prefix, label in PARTS.items() if name.startswith(prefix + "."))
            found[label] += parameter.numel()
    return dict(found)


def _name_in(state: State, released: str) -> str:
    """The name that the file has for what released checkpoints call `released`."""
    if released in state:
        return released
    for beginning, others in _ELSEWHERE.items():
        if released.startswith(beginning):
            candidates = [other + released[len(beginning) :] for other in others]
            return next((name for name in candidates if name in state), released)
    return released


def _whole_part(part: dict[str, str], state: State, label: str, path: Path) -> dict[str, Tensor]:
    """The part's tensors by our names; none where the file has none of it."""
    held = {own: state[their] for own, their in part.items() if their in state}
    missing = [their for own, their in part.items() if own not in held and not own.endswith(_COUNTER)]
    if held and missing:
        raise BadInputError(
            f"{path} has {len(held)} of the {len(part)} tensors of the {label} that is to be trained, and lacks "
            f"'{min(missing)}'; it is of another network, so give one that fits the --preset."
        )
    return held


def _beginning(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "pts_bbox_head" else 1])
