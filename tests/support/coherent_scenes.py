"""Small scenes with exact evidence, for CoherentGS: flow and monocular depth of textured surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fewview.recon.evidence.dense_flow import DenseFlow
from fewview.recon.evidence.flow_by_depth import flow_by_depth
from fewview.recon.evidence.monocular_depth import MonocularDepth
from fewview.recon.methods.coherentgs.config import CoherentConfig
from fewview.recon.methods.coherentgs.model import Coherent
from fewview.recon.methods.coherentgs.prepared_views import prepared_views
from fewview.recon.optimise.dataset import Dataset
from support.few_views import few_views, wall_and_ball
from support.stereo_scenes import StereoScene
from torch import Tensor


def evidence_of(
    scene: StereoScene,
    *,
    scales: Sequence[float] = (1.0, 1.0, 1.0),
    offsets: Sequence[float] = (0.0, 0.0, 0.0),  # of inverse depth
) -> tuple[Dataset, MonocularDepth, DenseFlow]:
    """Data set, flow by exact depth, and inverse depth to a scale and an offset."""
    dataset, stereo = few_views(scene)
    disparity = tuple(
        (scale / depth + offset).float() for depth, scale, offset in zip(scene.depths, scales, offsets, strict=False)
    )
    return dataset, MonocularDepth(disparity), flow_by_depth(stereo)


def coherent(
    scene: StereoScene | None = None, make: Any = CoherentConfig, **changes: Any
) -> tuple[Coherent, Dataset, CoherentConfig]:
    """A model of three views of a ball before a wall, with small decoders."""
    dataset, monocular, flow = evidence_of(wall_and_ball() if scene is None else scene)
    small = {"steps": 20, "checkpoint_every_s": 0.0, "depth_capacity": 1, "opacity_capacity": 1}
    config = make(**(small | changes))
    return Coherent(prepared_views(dataset, monocular, flow, config), config, "cpu"), dataset, config


def depths_of(model: Coherent) -> list[Tensor]:
    """Depth [h, w] of each view's Gaussians as they are now, world units."""
    with torch.no_grad():
        depths, _ = model._decoded()
        return [model.prepared.unit * z for z in model._whole(depths)]
