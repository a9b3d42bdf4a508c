"""An RDG-GS-style method (after Zhan et al. 2025, arXiv 2501.11102): 3DGS of few views, guided by relative depth.

Nothing but the paper's abstract and its reviews could be read, and no code is released. The base is FSGS (Zhu et al.
2024); refined priors, relative guidance and adaptive sampling are our design of what the abstract says.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....scene.gaussians import Gaussians
from ...evidence import Stereo
from ...evidence.monocular_depth import MonocularDepth
from ...evidence.patch_features import PatchFeatures
from ...optimise.dataset import Dataset
from ...optimise.step import Step
from ..gaussian_splatting.model import GaussianSplatting
from ..instantsplat.model import position_rates
from .adaptive_sampling import AdaptiveSampling
from .config import RdgGsConfig
from .depth_terms import DepthTerms
from .prior_depth import PriorDepth, coarse_prior, refined_prior
from .proximity_unpooling import ProximityUnpooling
from .starting_points import starting_gaussians, stereo_of


class RdgGs(GaussianSplatting):
    """Gaussians that learn from photographs, and from what is believed about depth."""

    config: RdgGsConfig

    def __init__(
        self,
        gaussians: Gaussians,
        config: RdgGsConfig,
        dataset: Dataset,
        prior: PriorDepth,
        terms: DepthTerms,
        means_row_scale: Tensor | None = None,  # [N] factors on the means' learning rate
    ) -> None:
        super().__init__(gaussians, config, dataset.scene_scale, means_row_scale)
        self.terms = terms
        if config.densification == "default" and config.sampling != "off":
            shared: dict[str, Any] = {
                "sampling_rounds": config.sampling_rounds, "count": len(gaussians), "budget": config.max_gaussians,
                "scene_scale": dataset.scene_scale, "grow_gradient": config.grow_gradient,
                "split_scale": config.split_scale, "prune_opacity": config.prune_opacity,
                "prune_scale": config.prune_scale, "opacity_resets": config.opacity_resets,
                "device": gaussians.means.device,
            }  # fmt: skip
            if config.sampling == "unpooling":
                self.densifier = ProximityUnpooling(config.rounds, **shared)
            else:
                share, growth = config.sampling_share, config.growth
                self.densifier = AdaptiveSampling(
                    config.rounds, share=share, growth=growth, prior=prior, dataset=dataset, **shared
                )

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The image loss and those on depth, by name."""
        if self.config.depth_at(step.index):
            step.draw(step.views[0], depth=True)
        return super().loss(step) | self.terms.losses(step)


def initialise(
    dataset: Dataset,
    stereo: Stereo,  # of the training views, in the order of `dataset.train`
    monocular: MonocularDepth,  # of the same
    features: PatchFeatures,  # of the same
    config: RdgGsConfig,
) -> RdgGs:
    """Gaussians behind the pixels of the training views. Raises BadInputError when none is left to start from."""
    make = refined_prior if config.prior == "refined" else coarse_prior
    prior = make(dataset, monocular, stereo)
    known = stereo if config.start == "stereo" else stereo_of(prior)
    start, confidence = starting_gaussians(dataset, known, config)
    device = dataset.cameras.K.device
    factor = position_rates(confidence).to(device) if config.confidence_rates else None
    terms = DepthTerms(dataset, prior, monocular, features, config)
    return RdgGs(start.to(device), config, dataset, prior, terms, factor)
