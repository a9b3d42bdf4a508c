"""Dense flow: where each pixel of a training view lies in another one, and how far that is to be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.filled import filled
from ...scene.geometry import Similarity
from .evidence_file import opened_evidence, write_evidence

AGREES = 0.5  # weight from which a pixel counts as matched: 1.386 pixels, both axes together, after there and back
EROSION_PX = 5  # side of the window that takes the least weight of those it covers, odd


@dataclass(frozen=True)
class FlowField:
    """Flow from one view to another; pixel (x, y) of the first is (x, y) + flow of the second."""

    flow: Tensor  # [H, W, 2] float32, pixels of the second view
    weight: Tensor  # [H, W] float32 in [0, 1], 0 where nothing is known

    def __post_init__(self) -> None:
        if self.flow.ndim != 3 or self.flow.shape != (*self.weight.shape, 2):
            raise ValueError(
                f"expected flow [H, W, 2] and weight [H, W], found {tuple(self.flow.shape)} and "
                f"{tuple(self.weight.shape)}"
            )

    @property
    def agrees(self) -> Tensor:
        """bool [H, W], True where the way there and back ends where it began."""
        return self.weight > AGREES


@dataclass(frozen=True)
class DenseFlow:
    """Flow for every ordered pair (i, j) of training views, numbered in the order of `Dataset.train`."""

    fields: Mapping[tuple[int, int], FlowField]

    def __post_init__(self) -> None:
        wanted = set(_pairs(self.views))
        if set(self.fields) != wanted:
            raise ValueError(f"expected the ordered pairs {sorted(wanted)}, found {sorted(self.fields)}")

    @property
    def views(self) -> int:
        """Number of views."""
        return 1 + max((i for i, _ in self.fields), default=0)

    def transformed(self, new_from_world: Similarity) -> DenseFlow:
        """The same in another world frame: pixels know nothing of it."""
        return self


def checked_flow(flows: Mapping[tuple[int, int], Tensor], erosion_px: int = EROSION_PX) -> DenseFlow:
    """Flow with weights by the check there and back; `flows` [H, W, 2] of every ordered pair, pixels."""
    return DenseFlow(checked_fields(flows, erosion_px))


def checked_fields(
    flows: Mapping[tuple[int, int], Tensor], erosion_px: int = EROSION_PX
) -> dict[tuple[int, int], FlowField]:
    """Fields with weights by the check there and back; `flows` [H, W, 2], pixels, hold (j, i) for every (i, j)."""
    fields = {}
    for (i, j), flow in flows.items():
        weight = consistency(flow, flows[j, i])
        fields[i, j] = FlowField(flow, eroded(weight, erosion_px))
    return fields


def consistency(there: Tensor, back: Tensor) -> Tensor:
    """Weight [H, W] = exp(-|bw(-F_ji) - F_ij|_1 / 2) of flow F_ij [H, W, 2] by F_ji [Hj, Wj, 2] (CoherentGS, 3.2).

    bw reads F_ji, bilinearly, where F_ij leads to. Pixels that are led out of the picture weigh 0.
    """
    landing = pixel_centres(*there.shape[:2]).to(there) + there
    size = landing.new_tensor([back.shape[1], back.shape[0]])
    inside = ((landing > 0) & (landing < size)).all(-1)
    error = (-sampled(back, landing) - there).abs().sum(-1)
    return torch.exp(-0.5 * error) * inside


def eroded(weight: Tensor, side_px: int = EROSION_PX) -> Tensor:
    """The least weight [H, W] in a square window around each pixel; nothing is known of what is outside the picture."""
    return -F.max_pool2d(-weight[None], side_px, stride=1, padding=side_px // 2)[0]


def pixel_centres(height: int, width: int) -> Tensor:
    """[H, W, 2] float32, x before y, the upper-left one (0.5, 0.5)."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return torch.stack([x[None].expand(height, width), y[:, None].expand(height, width)], dim=-1)


def sampled(
    values: Tensor,  # [H, W, C]
    at: Tensor,  # [..., 2] pixels
) -> Tensor:
    """Bilinear values [..., C]; beyond the border those of the border."""
    size = filled([values.shape[1], values.shape[0]], at.device)
    grid = (2 * at / size - 1).reshape(1, 1, -1, 2)
    found = F.grid_sample(values.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False)
    return found[0, :, 0].T.reshape(*at.shape[:-1], values.shape[-1])


def save_flow(path: Path, flow: DenseFlow, names: list[str], key: str) -> None:
    """Write the fields under the names of their views. `key` says what they were made from."""
    save_flow_fields(path, flow.fields, names, key)


def save_flow_fields(path: Path, fields: Mapping[tuple[int, int], FlowField], names: list[str], key: str) -> None:
    """Write fields between views of these names, whichever pairs there are."""
    tensors = {}
    for (i, j), field in fields.items():
        tensors[f"flow/{names[i]}|{names[j]}"] = field.flow
        tensors[f"weight/{names[i]}|{names[j]}"] = field.weight
    write_evidence(path, tensors, key)


def load_flow(path: Path, cameras: Cameras, names: list[str]) -> DenseFlow:
    """Read what `save_flow` wrote for views [V] of these sizes.

    Raises BadInputError when the file is damaged or belongs to other views.
    """
    with opened_evidence(path) as file:
        return DenseFlow({(i, j): read_field(file, cameras, names, i, j) for i, j in _pairs(len(names))})


def read_field(file: Any, cameras: Cameras, names: list[str], i: int, j: int) -> FlowField:
    """The field from view i to view j of an open file. Raises ValueError for one of other sizes."""
    flow, weight = (file.get_tensor(f"{what}/{names[i]}|{names[j]}") for what in ("flow", "weight"))
    _check(flow, weight, int(cameras.height[i]), int(cameras.width[i]))
    return FlowField(flow.clone(), weight.clone())


def flow_fields_of(file: Any, names: list[str]) -> list[tuple[int, int]]:
    """The pairs (i, j) of views of these names that an open file has fields of, in their order.

    Raises ValueError for views of other names.
    """
    numbers = {f"flow/{a}|{b}": (i, j) for i, a in enumerate(names) for j, b in enumerate(names)}
    stored = [key for key in file.keys() if key.startswith("flow/")]  # noqa: SIM118  # safetensors' file is no dict
    strange = [key for key in stored if key not in numbers]
    if strange:
        raise ValueError(f"it is of other views, such as {strange[0].removeprefix('flow/')}")
    return sorted(numbers[key] for key in stored)


def _pairs(views: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(views) for j in range(views) if i != j)


def _check(flow: Tensor, weight: Tensor, height: int, width: int) -> None:
    """Raises ValueError for tensors that are no flow of a photograph of this size."""
    if flow.dtype != torch.float32 or weight.dtype != torch.float32:
        raise ValueError(f"float32 is expected, found {flow.dtype} and {weight.dtype}")
    if flow.shape != (height, width, 2) or weight.shape != (height, width):
        raise ValueError(
            f"flow [{height}, {width}, 2] and weight [{height}, {width}] are expected, found {list(flow.shape)} and "
            f"{list(weight.shape)}"
        )
    if not flow.isfinite().all() or not ((weight >= 0) & (weight <= 1)).all():
        raise ValueError("finite flow and weights from 0 to 1 are expected")
