"""Starting points of the RDG-GS-style method: behind the pixels of the training views, at believed depth."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ....scene.errors import BadInputError
from ....scene.gaussians import Gaussians
from ....scene.point_cloud import PointCloud
from ...evidence import DepthMap, Stereo
from ...evidence.depth_maps import MAX_CONFIDENCE
from ...optimise.dataset import Dataset
from ..gaussian_splatting.model import gaussians_from_points
from ..instantsplat.co_visibility import redundant_pixels
from ..instantsplat.extend_views import points_beyond
from ..instantsplat.model import BORDER_OPACITY, BORDER_SPACING_PX, thinned
from .config import RdgGsConfig
from .prior_depth import PriorDepth


def stereo_of(prior: PriorDepth) -> Stereo:
    """The prior as stereo: sure where it rests on matches, a guess elsewhere."""
    maps = [
        DepthMap(1 / inverse, torch.where(known, MAX_CONFIDENCE / 2, 1.0))
        for inverse, known in zip(prior.inverse, prior.known, strict=True)
    ]
    return Stereo(prior.cameras, tuple(maps))


def starting_gaussians(dataset: Dataset, stereo: Stereo, config: RdgGsConfig) -> tuple[Gaussians, Tensor]:
    """One behind each pixel that no surer view shows, thinned, and the blurred surroundings; and their confidence [N].

    Raises BadInputError when no pixel is left.
    """
    generator = torch.Generator().manual_seed(config.seed)
    photographs = [
        dataset.views[index].photograph(m.depth.shape[1], m.depth.shape[0])
        for index, m in zip(dataset.train, stereo.maps, strict=True)
    ]
    shown = [counts for _, counts in photographs]
    kept = [counts & ~drop for counts, drop in zip(shown, redundant_pixels(stereo, shown=shown), strict=True)]
    xyz = torch.cat([stereo.points(view)[keep] for view, keep in enumerate(kept)])
    rgb = torch.cat([pixels[keep] for (pixels, _), keep in zip(photographs, kept, strict=True)])
    confidence = torch.cat([m.confidence[keep] for m, keep in zip(stereo.maps, kept, strict=True)])
    if len(xyz) == 0:
        raise BadInputError("No pixel is left to start from: every one is masked, or shown by a surer view.")
    most = min(config.start_gaussians, config.max_gaussians)
    beyond = _beyond(dataset, stereo, config.border, most // 4, generator)
    most -= len(beyond)
    if len(xyz) > most:
        chosen: Tensor = thinned(confidence, most, generator)
        xyz, rgb, confidence = xyz[chosen], rgb[chosen], confidence[chosen]
    gaussians = gaussians_from_points(PointCloud(xyz, rgb), config, dataset.scene_scale)
    if len(beyond) == 0:
        return gaussians, confidence
    opaque = replace(config, initial_opacity=BORDER_OPACITY)  # no photograph sees them, so none can make them so
    around = gaussians_from_points(beyond, opaque, dataset.scene_scale)
    return Gaussians.cat([gaussians, around]), torch.cat([confidence, torch.full((len(beyond),), MAX_CONFIDENCE)])


def _beyond(dataset: Dataset, stereo: Stereo, border: float, most: int, generator: torch.Generator) -> PointCloud:
    """Points around the photographs, so many at most; none where there is no border."""
    if border == 0:
        return PointCloud.empty()
    points = points_beyond(dataset, stereo, border, BORDER_SPACING_PX)
    return points if len(points) <= most else points[torch.randperm(len(points), generator=generator)[:most]]
