"""InstantSplat (Fan et al. 2024, arXiv 2403.20309): Gaussians from dense stereo, trained together with the cameras.

Their number never changes: what several views show is taken from the most confident one, and training moves points
the more freely the less stereo trusted them, while the cameras are refined with them.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ....scene.errors import BadInputError
from ....scene.gaussians import Gaussians
from ....scene.point_cloud import PointCloud
from ...evidence import Stereo
from ...evidence.depth_maps import MAX_CONFIDENCE
from ...optimise.dataset import Dataset
from ..gaussian_splatting.model import gaussians_from_points
from .averaged_gaussians import AveragedGaussians
from .co_visibility import redundant_pixels
from .config import InstantSplatConfig
from .extend_views import points_beyond

BORDER_SPACING_PX, BORDER_OPACITY = 8, 0.95  # of the Gaussians beyond the photographs
RATE_GAIN = 99.0  # what distrust adds to a point's rate at most, times the half that sigmoid(1) leaves of it


def initialise(
    dataset: Dataset,
    stereo: Stereo,  # of the training views, in the order of `dataset.train`
    config: InstantSplatConfig,
    device: torch.device | str = "cpu",
) -> AveragedGaussians:
    """One Gaussian behind every pixel that no better view shows.

    Colours come from the photographs at the size of the maps. Transparent and masked pixels give none. Raises
    BadInputError when no pixel is left.
    """
    generator = torch.Generator().manual_seed(config.seed)
    beyond = _beyond(dataset, stereo, config, generator)
    cloud, confidence = _points(dataset, stereo, config, config.max_gaussians - len(beyond), generator)
    if len(cloud) == 0:
        raise BadInputError("Dense stereo left no pixel to start from: every one is masked, or shown by a better view.")
    gaussians = gaussians_from_points(cloud, config, dataset.scene_scale)
    if len(beyond) > 0:
        opaque = replace(config, initial_opacity=BORDER_OPACITY)  # no photograph sees them, so none can make them so
        gaussians = Gaussians.cat([gaussians, gaussians_from_points(beyond, opaque, dataset.scene_scale)])
        confidence = torch.cat([confidence, torch.full((len(beyond),), MAX_CONFIDENCE)])
    factor = position_rates(confidence).to(device) if config.confidence_rates else None
    return AveragedGaussians(gaussians.to(device), config, dataset.scene_scale, factor)


def position_rates(confidence: Tensor) -> Tensor:
    """Factor [N] on a point's learning rate: 1 + 99 (1 - sigmoid(O)), from 27.6 for a guess down to 1."""
    return 1 + RATE_GAIN * (1 - confidence.sigmoid())


def _beyond(dataset: Dataset, stereo: Stereo, config: InstantSplatConfig, generator: torch.Generator) -> PointCloud:
    """Points around the photographs, at most a quarter of all Gaussians; none where the config has no border."""
    if config.border == 0:
        return PointCloud.empty()
    points = points_beyond(dataset, stereo, config.border, BORDER_SPACING_PX)
    most = config.max_gaussians // 4
    return points if len(points) <= most else points[torch.randperm(len(points), generator=generator)[:most]]


def _points(
    dataset: Dataset, stereo: Stereo, config: InstantSplatConfig, most: int, generator: torch.Generator
) -> tuple[PointCloud, Tensor]:
    """At most so many points that Gaussians start from, and their confidence [N]."""
    photographs = [
        dataset.views[index].photograph(m.depth.shape[1], m.depth.shape[0])
        for index, m in zip(dataset.train, stereo.maps, strict=True)
    ]
    kept = [counts for _, counts in photographs]
    if config.co_visibility != "off":
        redundant = redundant_pixels(stereo, config.co_visibility_threshold, config.co_visibility, kept)
        kept = [counts & ~drop for counts, drop in zip(kept, redundant, strict=True)]
    xyz = [stereo.points(view)[keep] for view, keep in enumerate(kept)]
    rgb = [pixels[keep] for (pixels, _), keep in zip(photographs, kept, strict=True)]
    confidence = [m.confidence[keep] for m, keep in zip(stereo.maps, kept, strict=True)]
    cloud, trust = PointCloud(torch.cat(xyz), torch.cat(rgb)), torch.cat(confidence)
    if len(cloud) <= most:
        return cloud, trust
    chosen = thinned(trust, most, generator)
    return cloud[chosen], trust[chosen]


def thinned(confidence: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of N indices without replacement, ascending; weight 1 + confidence normalised to [0, 1].

    Gumbel keys, because torch.multinomial stops at 2^24 categories.
    """
    low, high = confidence.min(), confidence.max()
    weight = 1 + (confidence - low) / (high - low).clamp_min(1e-12)
    uniform = torch.rand(len(weight), generator=generator).clamp_min(1e-12)
    keys = weight.log() - (-uniform.log()).log()
    return keys.topk(count).indices.sort().values
