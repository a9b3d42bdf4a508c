"""InstantSplat (Fan et al. 2024, arXiv 2403.20309): Gaussians from dense stereo, trained together with the cameras.

Their number never changes: what several views show is taken from the most confident one, and training moves points
the more freely the less stereo trusted them, while the cameras are refined with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ....scene.errors import BadInputError
from ....scene.gaussians import Gaussians
from ....scene.point_cloud import PointCloud
from ...evidence import Stereo
from ...evidence.depth_maps import MAX_CONFIDENCE
from ...optimise.contract import at_least
from ...optimise.dataset import Dataset
from ..gaussian_splatting.model import GaussianSplatting, GaussianSplattingConfig, gaussians_from_points, log_linear
from .co_visibility import Rule, redundant_pixels
from .extend_views import points_beyond

RATE_HORIZON = 30_000  # steps over which the means' rate falls to a hundredth, however few are taken
BORDER_SPACING_PX, BORDER_OPACITY = 8, 0.95  # of the Gaussians beyond the photographs
RATE_GAIN = 99.0  # what distrust adds to a point's rate at most, times the half that sigmoid(1) leaves of it


@dataclass(frozen=True)
class InstantSplatConfig(GaussianSplattingConfig):
    """The paper's values (XL, 1000 steps); `instantsplat_config` fills in those that depend on the number of steps."""

    steps: int = 1000  # XL; 200 is S.
    densification: Literal["default", "mcmc", "none"] = "none"  # The number of Gaussians stays as it is.
    sh_degree: int = 0  # The paper's runs are too short for its rule of one more degree each 1000 steps.
    sh_lr: float = 2.5e-2  # Learning rate of the constant colour.
    sh_rest_lr: float = 1.25e-3  # Learning rate of the view-dependent colour.
    scale_lr: float = 5e-2  # Learning rate of the log-scales.
    quat_lr: float = 1e-2  # Learning rate of the quaternions.
    max_gaussians: int = 1_500_000  # More pixels than this are thinned out, confident ones last.
    refine_poses: bool = True  # Optimise the cameras together with the Gaussians.
    pose_rotation_lr: float = 2e-4  # Radians a step; the paper's 1e-4 is of quaternions, which turn by twice as much.
    pose_translation_lr: float = 1e-4  # Extents a step.
    confidence_rates: bool = True  # Move a point the faster the less stereo trusted it.
    co_visibility: Rule | Literal["off"] = "projected"  # How pixels that a better view shows, too, are told.
    co_visibility_threshold: float = 0.01  # Relative difference of depth up to which two pixels show the same.
    border: float = (
        0.0  # Blurred surroundings beyond each photograph, in its longer sides; not in the paper, which has 0.
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.densification != "none":
            raise BadInputError("InstantSplat keeps the number of its Gaussians: densification 'none' is expected.")
        if self.co_visibility not in ("projected", "normalised", "off"):
            raise BadInputError(f"co_visibility is '{self.co_visibility}'; projected, normalised or off is expected.")
        at_least(self, 0, "co_visibility_threshold", "border")


def instantsplat_config(steps: int = 1000, **changes: Any) -> InstantSplatConfig:
    """The paper's values for a run of `steps`: the means' rate falls as if the run had 30,000."""
    means_lr = InstantSplatConfig.means_lr
    final = log_linear(means_lr, means_lr / 100, steps / RATE_HORIZON)
    return InstantSplatConfig(**({"steps": steps, "means_lr_final": final} | changes))


def initialise(
    dataset: Dataset,
    stereo: Stereo,  # of the training views, in the order of `dataset.train`
    config: InstantSplatConfig,
    device: torch.device | str = "cpu",
) -> GaussianSplatting:
    """One Gaussian behind every pixel that no better view shows.

    Colours come from the photographs at the size of the maps. Transparent and masked pixels give none. Raises
    BadInputError when no pixel is left.
    """
    generator = torch.Generator().manual_seed(config.seed)
    beyond = _beyond(dataset, stereo, config, generator)
    cloud, confidence = _points(dataset, stereo, config, config.max_gaussians - len(beyond), generator)
    if len(cloud) == 0:
        raise BadInputError("Dense stereo left no pixel to start from: every one is masked, or shown by a better view.")
    gaussians = gaussians_from_points(cloud, config, dataset.extent)
    if len(beyond) > 0:
        opaque = replace(config, initial_opacity=BORDER_OPACITY)  # no photograph sees them, so none can make them so
        gaussians = Gaussians.cat([gaussians, gaussians_from_points(beyond, opaque, dataset.extent)])
        confidence = torch.cat([confidence, torch.full((len(beyond),), MAX_CONFIDENCE)])
    factor = position_rates(confidence).to(device) if config.confidence_rates else None
    return GaussianSplatting(gaussians.to(device), config, dataset.extent, factor)


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


def few_view_values(dataset: Dataset, on_cpu: bool) -> dict[str, Any]:
    """Config values for as many training photographs as there are, found on 3, 6 and 12 of one scene.

    Three photographs leave most surfaces to one view each: there few Gaussians, many of them left out of each step,
    keep from fitting it by things that no other view would show. From twelve on the photographs themselves do that.
    """
    views = len(dataset.train)
    pixels = sum(dataset.views[i].width * dataset.views[i].height for i in dataset.train)
    few, some = views <= 4, views <= 8
    values: dict[str, Any] = {
        "drop_rate": 0.4 if few else 0.1 if some else 0.0,
        "border": 0.25 if some else 0.0,
        "sh_degree": 1,
        "sh_every": 0.5,
    }
    per_gaussian = 26 if few else 20
    if on_cpu:
        values["max_gaussians"] = min(100_000, max(10_000, pixels // per_gaussian))
    return values
