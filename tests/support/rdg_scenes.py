"""Photographs of a ball before a wall in colours of their own, and what an RDG-GS-style method knows about them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from fewview.recon.evidence.depth_maps import DepthMap, Stereo
from fewview.recon.evidence.evidence_request import EvidenceRequest
from fewview.recon.evidence.monocular_depth import MonocularDepth
from fewview.recon.evidence.patch_features import PatchFeatures, classical_patch_features
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.rdg_gs.config import RdgGsConfig, configure
from fewview.recon.methods.rdg_gs.model import RdgGs, initialise
from fewview.recon.optimise.dataset import Dataset
from support.few_views import few_views, wall_and_ball
from support.stereo_scenes import StereoScene
from support.training import capture_of
from torch import Tensor

WIDTH, HEIGHT = 96, 64
BALL_BEFORE = 3.9  # depth that parts the ball from the wall


def colored_scene(views: int = 3, *, spacing: float = 0.5) -> StereoScene:
    """The wall is grey, the ball red; both keep a little of their texture."""
    scene = wall_and_ball(views, WIDTH, HEIGHT, spacing)
    images = []
    for image, depth in zip(scene.images, scene.depths, strict=True):
        colors = torch.where((depth < BALL_BEFORE)[..., None], torch.tensor([190.0, 60, 50]), 110.0)
        images.append((colors + 0.4 * (image.float() - 128)).clamp(0, 255).round().to(torch.uint8))
    return replace(scene, images=images)


def blurred(depth: Tensor, sigma: float = 3.0) -> Tensor:
    """A depth map [H, W] without its edges, as monocular networks give it."""
    reach = round(3 * sigma)
    weights = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    weights = weights / weights.sum()
    padded = torch.nn.functional.pad(depth[None, None], (reach,) * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, weights.reshape(1, 1, -1, 1))
    return torch.nn.functional.conv2d(rows, weights.reshape(1, 1, 1, -1))[0, 0]


def evidence_of(
    scene: StereoScene, *, known_share: float = 0.03, seed: int = 0
) -> tuple[Dataset, Stereo, MonocularDepth, PatchFeatures]:
    """Coarse relative depth of an unknown scale and offset, and stereo that is right at a few pixels and else a guess.

    The guess is the picture's median depth.
    """
    dataset, stereo = few_views(scene)
    g, maps, coarse = torch.Generator().manual_seed(seed), [], []
    for number, true in enumerate(scene.depths):
        known = torch.rand(true.shape, generator=g) < known_share
        maps.append(DepthMap(torch.where(known, true, true.median()), torch.where(known, 5.0, 1.0)))
        coarse.append((2.0 + number) * blurred(1 / true) + 0.3 * number)
    request = EvidenceRequest(capture_of(dataset), dataset, seed, lambda kind: None)
    return (
        dataset,
        Stereo(stereo.cameras, tuple(maps)),
        MonocularDepth(tuple(coarse)),
        classical_patch_features(request),
    )


def model_for(scene: StereoScene, **asked: Any) -> tuple[RdgGs, Dataset, RdgGsConfig]:
    """A small run of a scene."""
    dataset, stereo, monocular, features = evidence_of(scene)
    small = {"steps": 60, "checkpoint_every_s": 0.0, "start_gaussians": 800, "border": 0.0, "anchors": 32}
    config = configure(Inputs(dataset, capture_of(dataset)), small | asked)
    return initialise(dataset, stereo, monocular, features, config), dataset, config
