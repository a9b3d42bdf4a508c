"""Inputs and settings with which each reconstruction method trains in a dozen steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fewview.recon.evidence.depth_maps import DepthMap, Stereo
from fewview.recon.evidence.evidence_kinds import DEPTH, FLOW, MONOCULAR_DEPTH, PATCH_FEATURES, STATIC_MESH
from fewview.recon.evidence.flow_by_depth import flow_by_depth
from fewview.recon.evidence.monocular_depth import MonocularDepth
from fewview.recon.evidence.patch_features import PatchFeatures
from fewview.recon.methods import registry
from fewview.recon.methods.method_contract import Inputs
from fewview.recon.methods.registry import method
from fewview.scene.triangle_mesh import Mesh

from . import toy_method
from .bending_bar import tube
from .stereo_scenes import Plane, stereo_scene
from .training import capture_of, tiny_dataset

registry._registered.pop(toy_method.METHOD.name)  # the tests of other files know nothing of it
TIMES = [0.0, 0.5, 1.0, 1.5, 2.0]
METHODS = [
    "3dgs", "instantsplat", "coherentgs", "rdg_gs", "sc_gs", "deformable", "dreammesh4d", toy_method.METHOD.name,
]  # fmt: skip
DENSIFIED = {"densify_every": 3, "max_gaussians": 60, "grow_gradient": 1e-5}
SMALL_NETWORK = {"net_width": 16, "net_depth": 3, "random_points": 20}
SETTINGS: dict[str, dict[str, Any]] = {
    "3dgs": DENSIFIED,
    # Three stages in twelve steps: three of alignment, five of sizes that follow pixels, four of free ones.
    "coherentgs": {
        "alignment": "learned", "alignment_steps": 0.25, "reset_every": 2, "supersampling_from": 0.2,
        "depth_capacity": 1, "opacity_capacity": 1, "sh_degree": 1, "quat_lr": 1e-3, "color_lr": 0.02,
        "layered_from": 1.0, "smoothness_weight": 1.0, "gaussian_dropout": 0.0,
    },
    "deformable": DENSIFIED | SMALL_NETWORK,
    "rdg_gs": DENSIFIED | {
        "start_gaussians": 40, "anchors": 8, "depth_from": 0.0, "pseudo_every": 2, "border": 0.0, "relative_every": 2,
        "pseudo_weight": 0.01, "local_weight": 0.01,  # the depth that it is told is noise
    },
    # Six steps of the mesh at rest, six of its motion; both with losses of one size, so that they can fall.
    "dreammesh4d": {
        "static_steps": 0.5, "nodes": 12, "channels": 4, "plane_resolution": 6, "time_resolution": 5, "net_width": 16,
        "static_rgb_weight": 5000.0, "static_mask_weight": 500.0, "mask_weight_final": 500.0, "vertex_lr": 1e-3,
        "color_lr": 0.1, "opacity_lr": 0.2,
    },
    # Four stages in twelve steps: two of still control points, three that move, one of the chosen ones, six of all.
    "sc_gs": DENSIFIED | SMALL_NETWORK | {
        "nodes": 6, "node_candidates": 12, "node_steps": 0.5, "node_still": 0.34, "adaptive_at": 0.4,
        "neighbours_every": 2, "time_noise": 0.1, "node_loss": "image", "node_arap_weight": 1e-2,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def with_the_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the toy method during the tests of a file that takes this fixture."""
    monkeypatch.setitem(registry._registered, toy_method.METHOD.name, toy_method.METHOD)


def inputs_for(name: str) -> Inputs:
    """Five photographs with cameras and points, of different moments where the method follows them."""
    dataset = tiny_dataset(rgba=STATIC_MESH in method(name).needs)
    if method(name).uses_time:
        dataset = replace(dataset, cameras=replace(dataset.cameras, times_s=torch.tensor(TIMES)))
    capture = capture_of(dataset, TIMES if method(name).uses_time else None)
    # A plane that all photographs face.
    depths = stereo_scene([Plane((0.0, 0.0, 1.0), 0.0)], dataset.cameras).depths
    stereo = Stereo(dataset.cameras, tuple(DepthMap(z, torch.full_like(z, 5.0)) for z in depths))
    evidence = {
        DEPTH: stereo,
        FLOW: flow_by_depth(stereo),
        MONOCULAR_DEPTH: MonocularDepth(tuple(1 / z for z in depths)),
        PATCH_FEATURES: PatchFeatures(
            tuple(torch.eye(4)[torch.arange(12) % 4].reshape(3, 4, 4) for _ in dataset.views),
            torch.zeros(43),
            torch.eye(43)[:, :4],
        ),
        STATIC_MESH: Mesh(*tube(9, 6)),
    }
    return Inputs(dataset, capture, True, evidence=evidence)
